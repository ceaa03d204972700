// The whole plugin under a trap, as lv2_check has it, through the VST3.
//
//   vst3_check PLUGIN.so BLOCK BLOCKS
//
// Prints one line of JSON.  The engine is found through RTSEP_BRIDGE.
#define INIT_CLASS_IID
#include <pluginterfaces/base/ipluginbase.h>
#include <pluginterfaces/vst/ivstaudioprocessor.h>
#include <pluginterfaces/vst/ivstcomponent.h>
#include <pluginterfaces/vst/ivstevents.h>
#include <pluginterfaces/vst/ivsthostapplication.h>
#include <pluginterfaces/vst/ivstparameterchanges.h>
#include <pluginterfaces/vst/ivstprocesscontext.h>

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "trap.hpp"

using namespace Steinberg;
using namespace Steinberg::Vst;

struct Host : IHostApplication {
    tresult PLUGIN_API queryInterface(const TUID id, void** object) override {
        const bool mine = FUnknownPrivate::iidEqual(id, IHostApplication::iid) ||
                          FUnknownPrivate::iidEqual(id, FUnknown::iid);
        *object = mine ? this : nullptr;
        return mine ? kResultOk : kNoInterface;
    }
    uint32 PLUGIN_API addRef() override { return 1; }
    uint32 PLUGIN_API release() override { return 1; }
    tresult PLUGIN_API getName(String128 name) override { return name[0] = 0, kResultOk; }
    tresult PLUGIN_API createInstance(TUID, TUID, void** object) override {
        return *object = nullptr, kNotImplemented;
    }
};

struct Events : IEventList {
    long count = 0;
    tresult PLUGIN_API queryInterface(const TUID, void** object) override {
        return *object = nullptr, kNoInterface;
    }
    uint32 PLUGIN_API addRef() override { return 1; }
    uint32 PLUGIN_API release() override { return 1; }
    int32 PLUGIN_API getEventCount() override { return 0; }
    tresult PLUGIN_API getEvent(int32, Event&) override { return kResultFalse; }
    tresult PLUGIN_API addEvent(Event&) override { return count += 1, kResultOk; }
};

int main(int argc, char** argv) {
    if (argc < 4) return fprintf(stderr, "vst3_check PLUGIN.so BLOCK BLOCKS\n"), 2;
    const int block = atoi(argv[2]), blocks = atoi(argv[3]);
    const double rate = 48000.0;
    void* const library = dlopen(argv[1], RTLD_NOW);
    if (library == nullptr) return fprintf(stderr, "%s\n", dlerror()), 2;
    reinterpret_cast<bool (*)(void*)>(dlsym(library, "ModuleEntry"))(library);
    IPluginFactory* const factory = reinterpret_cast<IPluginFactory* (*)()>(dlsym(library, "GetPluginFactory"))();
    Host host;
    IComponent* component = nullptr;
    for (int32 n = 0; n < factory->countClasses() && component == nullptr; ++n) {
        PClassInfo info;
        factory->getClassInfo(n, &info);
        if (strcmp(info.category, kVstAudioEffectClass) == 0) {
            factory->createInstance(info.cid, IComponent::iid, reinterpret_cast<void**>(&component));
        }
    }
    if (component == nullptr || component->initialize(&host) != kResultOk) return fprintf(stderr, "no component\n"), 2;
    IAudioProcessor* processor = nullptr;
    component->queryInterface(IAudioProcessor::iid, reinterpret_cast<void**>(&processor));
    for (int32 bus = 0; bus < 8; ++bus) component->activateBus(kAudio, kOutput, bus, true);
    component->activateBus(kAudio, kInput, 0, true);
    component->activateBus(kEvent, kOutput, 0, true);
    ProcessSetup setup{kRealtime, kSample32, block, rate};
    processor->setupProcessing(setup);
    component->setActive(true);
    processor->setProcessing(true);
    const unsigned latency = processor->getLatencySamples();

    std::vector<std::vector<float>> audio(18, std::vector<float>(static_cast<size_t>(block)));
    std::vector<float*> lines;
    for (auto& line : audio) lines.push_back(line.data());
    AudioBusBuffers input{}, outputs[8]{};
    input.numChannels = 2;
    input.channelBuffers32 = lines.data();
    for (size_t bus = 0; bus < 8; ++bus) {
        outputs[bus].numChannels = 2;
        outputs[bus].channelBuffers32 = lines.data() + 2 + 2 * bus;
    }
    Events events;
    ProcessContext context{};
    context.sampleRate = rate;
    context.state = ProcessContext::kPlaying;
    ProcessData data{};
    data.processMode = kRealtime;
    data.symbolicSampleSize = kSample32;
    data.numSamples = block;
    data.numInputs = 1;
    data.numOutputs = 8;
    data.inputs = &input;
    data.outputs = outputs;
    data.outputEvents = &events;
    data.processContext = &context;

    trap::Counts counts;
    double difference = 0.0;
    bool armed = false;
    std::thread thread([&] {
        armed = trap::arm();
        timespec next{};
        clock_gettime(CLOCK_MONOTONIC, &next);
        for (int n = 0; n < blocks; ++n) {
            for (int i = 0; i < block; ++i) {
                const int at = n * block + i;
                // A click for the null engine's notes, now and then.
                const float value = at % 9600 == 5000 ? 0.99f : 0.3f * sinf(0.02f * static_cast<float>(at));
                audio[0][static_cast<size_t>(i)] = audio[1][static_cast<size_t>(i)] = value;
            }
            context.projectTimeSamples = static_cast<int64>(n) * block;
            // What a host's thread has touched once is not what is measured.
            if (n >= 8) trap::set();
            processor->process(data);
            trap::clear();
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
    });
    thread.join();
    printf("{\"trapped\": %s, \"latency\": %u, \"allocations\": %ld, \"locks\": %ld, \"calls\": %ld, "
           "\"first\": \"%s\", \"midi\": %ld, \"difference\": %g}\n",
           armed ? "true" : "false", latency, counts.allocations, counts.locks, counts.calls, counts.first,
           events.count, difference);
    fflush(stdout);
    processor->setProcessing(false);
    component->setActive(false);
    processor->release();
    component->terminate();
    component->release();
    factory->release();
    reinterpret_cast<bool (*)()>(dlsym(library, "ModuleExit"))();
    return 0;
}
