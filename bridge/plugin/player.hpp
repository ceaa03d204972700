// The audio thread's side: the mix into its ring; stems, or the mix in their place, out.
//
// `process` touches memory and atomics only: it does not allocate, lock, or call the
// system.  Only where a host renders without a clock does it wait for stems, asleep.
#pragma once

#include <array>
#include <vector>

#include "exchange.hpp"
#include "notes.hpp"

namespace rtsep {

constexpr int kFade = 128;             // samples of a cross-fade
constexpr int kHold = 1024;            // samples of the mix at least, after stems were missing
constexpr double kPatienceS = 10.0;    // of an offline render without any progress
constexpr float kSilentDb = -60.0f;    // this gain and less is silence

// Where a block goes.  Any pointer may be null, and may be one of the inputs.
struct Outputs {
    std::array<float*, 2> main{};
    std::array<float*, 2 * kBuses> stems{};
};

struct Settings {
    std::array<float, kBuses> gain{1, 1, 1, 1, 1, 1, 1};  // linear
    bool offline = false;
    bool bypassed = false;  // the mix alone, as late as the stems are
};

class Player {
public:
    explicit Player(Exchange& exchange);

    // The clock starts anew.  Not while `process` runs.
    void prepare();

    // Any number of frames; above the block that was prepared for, in pieces.
    void process(const float* left, const float* right, int frames, const Outputs& out,
                 const PlayHead& head, const Settings& settings, MidiBlock& midi);

    // What sounds is switched off with the next block: after a reset of the host's.
    void silence_notes() { silence_.store(true); }

private:
    enum class Source { none, stems, mix };

    void piece(const float* left, const float* right, int offset, int frames, const Outputs& out,
               const PlayHead& head, const Settings& settings, MidiBlock& midi);
    void write_mix(const float* left, const float* right, int frames, const PlayHead& head,
                   bool offline);
    void follow(const PlayHead& head, int frames);
    void wait_for_stems(int frames);
    bool have(int64_t from, int64_t to) const;

    // Each fills [at, at + length) of the buses and says how long that was.
    int play_nothing(int at, int length);
    int play_stems(int at, int length);
    int play_mix(int at, int length);
    int fade_out(int at, int length);
    int change_latency(int at, int length);
    void blend(int at, int length, int64_t sample, int step, int share, int share_step);
    void copy_mix(int length, int64_t sample, float* left, float* right) const;
    void miss(int64_t sample);

    void put_out(int offset, int frames, const Outputs& out, const Settings& settings);

    Exchange& x_;
    Notes notes_;
    std::array<float, kFade + 2> curve_{};
    std::array<std::vector<float>, 2> main_;
    std::array<std::vector<float>, 2 * kBuses> bus_;
    std::array<float, kBuses> gain_{};
    float gain_step_ = 0.0f;

    int64_t now_ = 0;      // first sample of the input in this block
    int64_t latency_ = 0;  // in force; the exchange's is the one that is wanted
    Source source_ = Source::none;
    int share_ = 0;          // of the stems in what goes out: kFade is all
    int64_t mirror_ = 0;     // where stems ended; they fade out backwards from there
    int64_t return_at_ = 0;  // not back to the stems before this sample
    int changing_ = -1;      // samples into a change of latency, or none
    int64_t next_latency_ = 0;
    bool missed_ = false;
    bool gave_up_ = false;
    int64_t gave_up_at_ = 0;

    PlayHead last_head_;
    int last_frames_ = 0;
    std::atomic<bool> silence_{false};
};

}  // namespace rtsep
