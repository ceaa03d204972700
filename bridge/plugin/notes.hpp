// Notes as MIDI, in the audio thread: each at its sample, and none that stays on.
#pragma once

#include <array>
#include <cstdint>

#include "exchange.hpp"

namespace rtsep {

// MIDI channels of the buses, from 0: drums on the tenth, the others in order.
constexpr std::array<uint8_t, kBuses> kChannels = {9, 0, 1, 2, 3, 4, 5};

struct MidiEvent {
    int frame;
    uint8_t bytes[3];
};

// What goes out with one block.  More wait for the next: hosts' own buffers are bounded
// too, and grow in the audio thread where they are not.
struct MidiBlock {
    static constexpr int kRoom = 200;
    int count = 0;
    std::array<MidiEvent, kRoom> events;
    bool full() const { return count == kRoom; }
};

class Notes {
public:
    // The clock starts anew; what sounds is switched off with the next block.
    void restart();

    // All notes off, and forget what was to come before this sample of the mix.
    void cut(int64_t sample);

    // The notes of [now, now + frames) on the clock of the input.
    void process(Exchange& exchange, int64_t now, int frames, int offset, MidiBlock& out);

private:
    struct Pending {
        int64_t due;
        uint8_t channel, pitch, velocity;
    };
    static constexpr int kPending = 1024;

    void take(Exchange& exchange, int64_t now);
    void play(const Pending& note, int frame, MidiBlock& out);
    void put(int channel, int pitch, int velocity, int frame, MidiBlock& out);
    bool& sounds(int channel, int pitch) { return sounding_[channel * 128 + pitch]; }

    std::array<Pending, kPending> pending_{};
    int count_ = 0;
    std::array<int64_t, 16 * 128> last_due_{};
    std::array<bool, 16 * 128> sounding_{};
    uint32_t epoch_ = 0;
    int64_t from_ = INT64_MIN;
    bool all_off_ = false;
};

}  // namespace rtsep
