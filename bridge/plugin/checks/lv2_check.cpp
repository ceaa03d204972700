// The whole plugin under a trap: loads the LV2 as a host does and counts what its `run` does
// that an audio thread must not.
//
//   lv2_check PLUGIN.so BLOCK BLOCKS [--quiet]
//
// Prints one line of JSON.  The engine is found through RTSEP_BRIDGE.
#include <dlfcn.h>
#include <lv2/atom/atom.h>
#include <lv2/atom/forge.h>
#include <lv2/buf-size/buf-size.h>
#include <lv2/core/lv2.h>
#include <lv2/options/options.h>
#include <lv2/time/time.h>
#include <lv2/urid/urid.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "trap.hpp"

static std::vector<std::string> uris;

static LV2_URID map_uri(LV2_URID_Map_Handle, const char* uri) {
    for (size_t i = 0; i < uris.size(); ++i) {
        if (uris[i] == uri) return static_cast<LV2_URID>(i + 1);
    }
    uris.push_back(uri);
    return static_cast<LV2_URID>(uris.size());
}

int main(int argc, char** argv) {
    if (argc < 4) return fprintf(stderr, "lv2_check PLUGIN.so BLOCK BLOCKS\n"), 2;
    const int block = atoi(argv[2]), blocks = atoi(argv[3]);
    const double rate = 48000.0;
    void* const library = dlopen(argv[1], RTLD_NOW);
    if (library == nullptr) return fprintf(stderr, "%s\n", dlerror()), 2;
    const auto descriptor_of = reinterpret_cast<LV2_Descriptor_Function>(dlsym(library, "lv2_descriptor"));
    const LV2_Descriptor* const plugin = descriptor_of(0);

    LV2_URID_Map map{nullptr, map_uri};
    const int32_t longest = block;
    const LV2_Options_Option options[] = {
        {LV2_OPTIONS_INSTANCE, 0, map_uri(nullptr, LV2_BUF_SIZE__maxBlockLength), sizeof longest,
         map_uri(nullptr, LV2_ATOM__Int), &longest},
        {LV2_OPTIONS_INSTANCE, 0, 0, 0, 0, nullptr}};
    const LV2_Feature features[] = {{LV2_URID__map, &map},
                                    {LV2_BUF_SIZE__boundedBlockLength, nullptr},
                                    {LV2_OPTIONS__options, const_cast<LV2_Options_Option*>(options)}};
    const LV2_Feature* const list[] = {&features[0], &features[1], &features[2], nullptr};
    const LV2_Handle handle = plugin->instantiate(plugin, rate, ".", list);
    if (handle == nullptr) return fprintf(stderr, "the plugin refused\n"), 2;

    std::vector<std::vector<float>> audio(18, std::vector<float>(static_cast<size_t>(block)));
    std::vector<uint8_t> in(8192), out(65536);
    float latency = -1.0f, freewheel = 0.0f, enabled = 1.0f;
    for (uint32_t port = 0; port < 18; ++port) plugin->connect_port(handle, port, audio[port].data());
    plugin->connect_port(handle, 18, in.data());
    plugin->connect_port(handle, 19, out.data());
    plugin->connect_port(handle, 20, &latency);
    plugin->connect_port(handle, 21, &freewheel);
    plugin->connect_port(handle, 22, &enabled);
    plugin->activate(handle);

    const LV2_URID sequence = map_uri(nullptr, LV2_ATOM__Sequence), chunk = map_uri(nullptr, LV2_ATOM__Chunk);
    const LV2_URID object = map_uri(nullptr, LV2_ATOM__Object), position = map_uri(nullptr, LV2_TIME__Position);
    const LV2_URID frame = map_uri(nullptr, LV2_TIME__frame), speed = map_uri(nullptr, LV2_TIME__speed);
    LV2_Atom_Forge forge;
    lv2_atom_forge_init(&forge, &map);
    trap::Counts counts;
    long events = 0;
    double difference = 0.0;
    std::thread thread([&] {
        const bool armed = trap::arm();
        if (!armed) fprintf(stderr, "this kernel cannot trap system calls\n");
        timespec next{};
        clock_gettime(CLOCK_MONOTONIC, &next);
        for (int n = 0; n < blocks; ++n) {
            for (int i = 0; i < block; ++i) {
                const int at = n * block + i;
                // A click for the null engine's notes, now and then.
                const float value = at % 9600 == 5000 ? 0.99f : 0.3f * sinf(0.02f * static_cast<float>(at));
                audio[0][static_cast<size_t>(i)] = audio[1][static_cast<size_t>(i)] = value;
            }
            LV2_Atom_Forge_Frame whole, time;
            lv2_atom_forge_set_buffer(&forge, in.data(), in.size());
            lv2_atom_forge_sequence_head(&forge, &whole, 0);
            lv2_atom_forge_frame_time(&forge, 0);
            lv2_atom_forge_object(&forge, &time, 0, position);
            lv2_atom_forge_key(&forge, frame);
            lv2_atom_forge_long(&forge, n * block);
            lv2_atom_forge_key(&forge, speed);
            lv2_atom_forge_float(&forge, 1.0f);
            lv2_atom_forge_pop(&forge, &time);
            lv2_atom_forge_pop(&forge, &whole);
            auto* const midi = reinterpret_cast<LV2_Atom_Sequence*>(out.data());
            midi->atom.size = static_cast<uint32_t>(out.size() - sizeof(LV2_Atom));
            midi->atom.type = chunk;
            // What a host's thread has touched once is not what is measured.
            if (n >= 8) trap::set();
            plugin->run(handle, static_cast<uint32_t>(block));
            trap::clear();
            if (midi->atom.type == sequence) {
                LV2_ATOM_SEQUENCE_FOREACH(midi, event) events += event->body.type != object;
            }
            for (size_t i = 0; i < static_cast<size_t>(block); ++i) {
                double sum = 0.0;
                for (size_t bus = 0; bus < 7; ++bus) sum += audio[4 + 2 * bus][i];
                difference = std::max(difference, std::abs(sum - audio[2][i]));
            }
            next.tv_nsec += static_cast<long>(block * 1e9 / rate);
            if (next.tv_nsec >= 1000000000) next.tv_nsec -= 1000000000, next.tv_sec += 1;
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, nullptr);
        }
        counts = trap::counts();
        printf("{\"trapped\": %s, ", armed ? "true" : "false");
    });
    thread.join();
    plugin->deactivate(handle);
    plugin->cleanup(handle);
    printf("\"latency\": %d, \"allocations\": %ld, \"locks\": %ld, \"calls\": %ld, \"first\": \"%s\", "
           "\"midi\": %ld, \"difference\": %g}\n",
           static_cast<int>(latency), counts.allocations, counts.locks, counts.calls, counts.first, events, difference);
    return 0;
}
