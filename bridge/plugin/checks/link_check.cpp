// Plays through the link as a host would, and says what came of it in one line of JSON.
//
//   link_check --address A --rate 48000 --block 128 --seconds 2 [--offline] [--short]
//              [--input IN --output OUT] [--plant malloc|mutex|call] [--preset NAME]
//              [--then NAME]
//
// IN is float32, left and right interleaved; OUT has 16 channels interleaved: main, then the
// stems.  --short plays blocks of changing lengths up to the block.  --plant does in the
// audio thread what must not be done there, to see that it is found.  --then asks for another
// preset half way.
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "../link.hpp"
#include "trap.hpp"

using namespace rtsep;

static std::vector<float> read_floats(const std::string& path) {
    std::vector<float> values;
    FILE* const file = fopen(path.c_str(), "rb");
    if (file == nullptr) return perror(path.c_str()), exit(2), values;
    float block[4096];
    for (size_t n; (n = fread(block, 4, 4096, file)) > 0;) values.insert(values.end(), block, block + n);
    fclose(file);
    return values;
}

static int64_t quantile(const std::vector<uint32_t>& histogram, double q) {
    uint64_t all = 0, seen = 0;
    for (uint32_t n : histogram) all += n;
    for (size_t us = 0; us < histogram.size(); ++us) {
        seen += histogram[us];
        if (all > 0 && static_cast<double>(seen) >= q * static_cast<double>(all)) return static_cast<int64_t>(us);
    }
    return -1;
}

// Seconds that each of this process's threads has worked, by name.
static std::map<std::string, double> thread_times() {
    std::map<std::string, double> times;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
        std::string name;
        double ns = 0.0;
        std::getline(std::ifstream(entry.path() / "comm"), name);
        std::ifstream(entry.path() / "schedstat") >> ns;
        times[name] += 1e-9 * ns;
    }
    return times;
}

static void plant(const std::string& what) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    if (what == "malloc") {
        void* volatile piece = malloc(64);
        free(piece);
    }
    if (what == "mutex") pthread_mutex_lock(&mutex), pthread_mutex_unlock(&mutex);
    if (what == "call") getppid();
}

int main(int argc, char** argv) {
    std::map<std::string, std::string> given = {
        {"--address", ""}, {"--rate", "48000"}, {"--block", "128"}, {"--seconds", "2"},
        {"--input", ""}, {"--output", ""}, {"--plant", ""}, {"--preset", "live"}, {"--then", ""},
        {"--priority", "0"}, {"--wait", "0"}};
    bool offline = false, varied = false;
    for (int i = 1; i < argc; ++i) {
        if (strcmp(argv[i], "--offline") == 0) offline = true;
        else if (strcmp(argv[i], "--short") == 0) varied = true;
        else if (given.count(argv[i]) && i + 1 < argc) given[argv[i]] = argv[i + 1], ++i;
        else return fprintf(stderr, "unknown: %s\n", argv[i]), 2;
    }
    const int rate = atoi(given["--rate"].c_str()), block = atoi(given["--block"].c_str());
    std::vector<float> input = given["--input"].empty()
                                   ? std::vector<float>(2 * static_cast<size_t>(rate * atof(given["--seconds"].c_str())))
                                   : read_floats(given["--input"]);
    if (given["--input"].empty()) {
        for (size_t i = 0; i < input.size(); ++i) input[i] = 0.5f * sinf(0.03f * static_cast<float>(i / 2));
    }
    Link link;
    Wanted wanted;
    wanted.address = given["--address"];
    wanted.preset = given["--preset"];
    link.want(wanted);
    link.exchange().measure = true;
    link.prepare(rate, block);
    const int64_t latency = link.latency();
    const int64_t frames = static_cast<int64_t>(input.size() / 2);
    std::vector<float> left(static_cast<size_t>(frames)), right(left), output(16 * left.size());
    for (size_t i = 0; i < left.size(); ++i) left[i] = input[2 * i], right[i] = input[2 * i + 1];
    std::vector<std::vector<float>> lines(16, std::vector<float>(static_cast<size_t>(block)));
    Outputs outputs;
    for (size_t c = 0; c < 2; ++c) outputs.main[c] = lines[c].data();
    for (size_t c = 0; c < 14; ++c) outputs.stems[c] = lines[2 + c].data();

    // A thread whose system calls are watched is one of its own.
    std::vector<std::array<int64_t, 4>> midi_out;
    midi_out.reserve(100000);
    std::vector<std::array<int64_t, 2>> missed;  // frames from, to of blocks that missed stems
    missed.reserve(static_cast<size_t>(frames) + 1);
    trap::Counts counts;
    bool armed = false;
    int64_t worst = 0;
    std::atomic<bool> half{false}, done{false};
    std::thread audio([&] {
        sched_param param{};
        param.sched_priority = atoi(given["--priority"].c_str());
        if (param.sched_priority > 0) pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
        armed = trap::arm();
        MidiBlock midi;
        Settings settings;
        settings.offline = offline;
        timespec next{};
        clock_gettime(CLOCK_MONOTONIC, &next);
        uint32_t random = 1;
        for (int64_t at = 0; at < frames;) {
            random = random * 1664525u + 1013904223u;
            const int wish = varied ? 1 + static_cast<int>((random >> 8) % static_cast<uint32_t>(block)) : block;
            const int n = static_cast<int>(std::min<int64_t>(wish, frames - at));
            PlayHead head{true, at, true};
            const int64_t begin = now_ns(), misses = link.counters().misses.load();
            trap::set();
            link.process(left.data() + at, right.data() + at, n, outputs, head, settings, midi);
            if (at > frames / 2) plant(given["--plant"]);
            trap::clear();
            worst = std::max(worst, now_ns() - begin);
            if (link.counters().misses.load() > misses) {
                if (!missed.empty() && missed.back()[1] == at) missed.back()[1] = at + n;
                else missed.push_back({at, at + n});
            }
            for (size_t c = 0; c < 16; ++c) {
                for (int i = 0; i < n; ++i) output[16 * static_cast<size_t>(at + i) + c] = lines[c][static_cast<size_t>(i)];
            }
            for (int i = 0; i < midi.count; ++i) {
                const MidiEvent& e = midi.events[static_cast<size_t>(i)];
                midi_out.push_back({at + e.frame, e.bytes[0], e.bytes[1], e.bytes[2]});
            }
            at += n;
            half.store(at > frames / 2);
            if (!offline) {
                next.tv_nsec += static_cast<long>(n * 1000000000LL / rate);
                if (next.tv_nsec >= 1000000000) next.tv_nsec -= 1000000000, next.tv_sec += 1;
                clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, nullptr);
            }
        }
        counts = trap::counts();
        done.store(true);
    });
    const auto before = thread_times();
    if (!given["--then"].empty()) {
        while (!half.load() && !done.load()) usleep(1000);
        wanted.preset = given["--then"];
        link.want(wanted);
    }
    audio.join();
    auto times = thread_times();
    for (const auto& [name, time] : before) times[name] -= time;
    const Status status = link.status();
    link.release();
    if (!given["--output"].empty()) {
        FILE* const file = fopen(given["--output"].c_str(), "wb");
        if (file == nullptr || fwrite(output.data(), 4, output.size(), file) != output.size()) return perror("output"), 2;
        fclose(file);
    }
    const Counters& c = link.counters();
    const auto& trips = link.network().round_trips;
    printf("{\"latency\": %ld, \"latency_end\": %ld, \"slack\": %ld, \"engine_latency\": %ld, \"step\": %d, ",
           static_cast<long>(latency), static_cast<long>(link.latency()),
           static_cast<long>(link.exchange().slack.load()), static_cast<long>(status.engine_latency), status.step);
    printf("\"misses\": %ld, \"late\": %ld, \"unsent\": %ld, \"lost\": %ld, \"malformed\": %ld, \"versions\": %ld, "
           "\"dropped\": %ld, \"sessions\": %ld, \"gave_up\": %ld, ",
           static_cast<long>(c.misses), static_cast<long>(c.late), static_cast<long>(c.unsent), static_cast<long>(c.lost),
           static_cast<long>(c.malformed), static_cast<long>(c.versions), static_cast<long>(c.dropped),
           static_cast<long>(c.sessions), static_cast<long>(c.gave_up));
    printf("\"trapped\": %s, \"allocations\": %ld, \"locks\": %ld, \"calls\": %ld, \"first\": \"%s\", ",
           armed ? "true" : "false", counts.allocations, counts.locks, counts.calls, counts.first);
    printf("\"round_trip_us\": {\"p50\": %ld, \"p99\": %ld, \"p999\": %ld, \"max\": %ld}, \"process_us_max\": %.1f, \"cpu\": {\"network\": %.4f, \"zmq\": %.4f}, ",
           static_cast<long>(quantile(trips, 0.5)), static_cast<long>(quantile(trips, 0.99)),
           static_cast<long>(quantile(trips, 0.999)), static_cast<long>(quantile(trips, 1.0)),
           static_cast<double>(worst) / 1e3, times["rtsep-bridge"] * rate / static_cast<double>(frames),
           times["ZMQbg/IO/0"] * rate / static_cast<double>(frames));
    printf("\"missed\": [");
    for (size_t i = 0; i < missed.size(); ++i) {
        printf("%s[%ld, %ld]", i ? ", " : "", static_cast<long>(missed[i][0]), static_cast<long>(missed[i][1]));
    }
    printf("], \"midi\": [");
    for (size_t i = 0; i < midi_out.size(); ++i) {
        const auto& e = midi_out[i];
        printf("%s[%ld, %ld, %ld, %ld]", i ? ", " : "", static_cast<long>(e[0]), static_cast<long>(e[1]),
               static_cast<long>(e[2]), static_cast<long>(e[3]));
    }
    printf("]}\n");
    return 0;
}
