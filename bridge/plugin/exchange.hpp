// What the audio thread and the network thread share: rings, and atomics that say how far
// they are filled.  Nobody waits for anybody here, and nothing is allocated after `prepare`.
//
// One clock: sample 0 is the first that the host processes after `prepare`.  Rings are
// indexed by it, so a block that is late or missing never moves another.
#pragma once

#include <time.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace rtsep {

constexpr int kBuses = 7;  // drums, bass, guitar, piano, other, extra 1, extra 2
constexpr int kOther = 4;
constexpr int64_t kRing = int64_t{1} << 17;  // samples, a power of two
constexpr int64_t kMaxInFlight = 65536;      // samples on their way, see the protocol
// An engine that is further behind than this is for files, not for a plugin.
constexpr int64_t kMaxEngineLatency = 32768;
constexpr int64_t kRecords = 4096;
constexpr int64_t kNoteQueue = 2048;

// The host's play head at the first sample of a block.
struct PlayHead {
    bool known = false;
    int64_t position = 0;
    bool playing = false;
};

// What is known of a block beside its samples.  The reader may meet one that is being
// written anew: it asks `blocks` afterwards whether that can have been so.
struct Record {
    std::atomic<int64_t> start{0}, frames{0}, position{0}, stamp_ns{0};
    std::atomic<bool> playing{false}, offline{false};
};

struct QueuedNote {
    int64_t sample, known_at;
    uint32_t epoch;
    uint8_t channel, pitch, velocity;
};

struct Counters {
    std::atomic<int64_t> misses{0};       // blocks whose stems were not there in time
    std::atomic<int64_t> late{0};         // samples of stems that came after their time
    std::atomic<int64_t> unsent{0};       // samples of the mix that were not sent
    std::atomic<int64_t> lost{0};         // messages that never came, by their numbers
    std::atomic<int64_t> malformed{0};    // messages that were none
    std::atomic<int64_t> versions{0};     // messages of unknown versions
    std::atomic<int64_t> dropped{0};      // messages that came twice, late, or of others
    std::atomic<int64_t> notes_lost{0};   // for which there was no room
    std::atomic<int64_t> sessions{0};     // opened so far
    std::atomic<int64_t> gave_up{0};      // waits of an offline render that ended without stems
};

struct Exchange {
    int sample_rate = 48000;
    int max_block = 512;

    std::array<std::vector<float>, 2> mix;
    std::array<std::vector<float>, 2 * kBuses> stems;

    // Written by the audio thread.
    alignas(64) std::atomic<int64_t> written{0};  // end of the mix that is there
    std::atomic<int64_t> blocks{0};               // records that are there
    std::atomic<int64_t> played{0};               // sample of the mix that goes out next
    std::array<Record, kRecords> records;
    std::atomic<int64_t> notes_taken{0};

    // Written by the network thread.  Of all stems, those of [valid_from, valid_to) count.
    // It stores valid_from, then samples, then valid_to; who reads in the other order sees
    // an interval of which all is there, or none.
    alignas(64) std::atomic<int64_t> valid_from{0};
    std::atomic<int64_t> valid_to{0};
    std::atomic<int64_t> latency{0};  // from the input to the output, W included
    std::atomic<int64_t> slack{0};    // W of it: what the way to the engine and back may take
    std::atomic<bool> known{false};   // an engine has said how late it is
    std::atomic<uint32_t> epoch{0};   // one more whenever what sounds must end
    std::atomic<int64_t> notes_queued{0};
    std::array<QueuedNote, kNoteQueue> notes;

    std::atomic<bool> measure{false};  // stamp blocks, for a histogram of round trips
    Counters counters;

    // Only while neither thread runs.
    void reset() {
        for (auto& ring : mix) ring.assign(kRing, 0.0f);
        for (auto& ring : stems) ring.assign(kRing, 0.0f);
        written = blocks = played = valid_from = valid_to = 0;
        notes_taken = notes_queued = 0;
        known = false;
        epoch.fetch_add(1);
    }
};

// Of the system's monotonic clock.
inline int64_t now_ns() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

inline size_t ring_index(int64_t sample) { return static_cast<size_t>(sample & (kRing - 1)); }

// Copy between a ring and a line of samples, in two pieces where the ring ends.
template <typename Copy>
void ring_pieces(int64_t sample, int64_t length, Copy&& copy) {
    const int64_t first = static_cast<int64_t>(ring_index(sample));
    const int64_t piece = length < kRing - first ? length : kRing - first;
    copy(first, int64_t{0}, piece);
    if (piece < length) copy(int64_t{0}, piece, length - piece);
}

}  // namespace rtsep
