#include "player.hpp"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace rtsep {
namespace {

// Numbers that a network may be given: no NaN, no infinity, no denormal.
float clean(float value) {
    uint32_t bits = 0;
    std::memcpy(&bits, &value, 4);
    const uint32_t exponent = bits & 0x7f800000u;
    return exponent == 0 || exponent == 0x7f800000u ? 0.0f : value;
}

}  // namespace

Player::Player(Exchange& exchange) : x_(exchange) {
    // A half cosine without its two ends, where one side alone is heard.
    for (int i = 0; i <= kFade + 1; ++i) {
        const double place = static_cast<double>(i) / (kFade + 1);
        curve_[static_cast<size_t>(i)] = static_cast<float>(0.5 - 0.5 * std::cos(M_PI * place));
    }
}

void Player::prepare() {
    for (auto& line : main_) line.assign(static_cast<size_t>(x_.max_block), 0.0f);
    for (auto& line : bus_) line.assign(static_cast<size_t>(x_.max_block), 0.0f);
    gain_.fill(-1.0f);
    gain_step_ = 1.0f - std::exp(-1.0f / (0.005f * static_cast<float>(x_.sample_rate)));
    now_ = 0;
    latency_ = x_.latency.load();
    source_ = Source::none;
    share_ = 0;
    changing_ = -1;
    return_at_ = 0;
    gave_up_ = false;
    last_head_ = {};
    last_frames_ = 0;
    x_.played.store(-latency_);
    notes_.restart();
}

void Player::process(const float* left, const float* right, int frames, const Outputs& out,
                     const PlayHead& head, const Settings& settings, MidiBlock& midi) {
    midi.count = 0;
    PlayHead here = head;
    for (int offset = 0; offset < frames;) {
        const int length = std::min(frames - offset, x_.max_block);
        piece(left, right, offset, length, out, here, settings, midi);
        if (here.playing) here.position += length;
        offset += length;
    }
}

void Player::piece(const float* left, const float* right, int offset, int frames,
                   const Outputs& out, const PlayHead& head, const Settings& settings,
                   MidiBlock& midi) {
    write_mix(left != nullptr ? left + offset : nullptr,
              right != nullptr ? right + offset : nullptr, frames, head, settings.offline);
    follow(head, frames);
    if (settings.offline && !settings.bypassed) wait_for_stems(frames);
    missed_ = false;
    for (int at = 0; at < frames;) {
        const int left_over = frames - at;
        const bool pending = x_.latency.load(std::memory_order_acquire) != latency_;
        if (changing_ >= 0) at += change_latency(at, left_over);
        else if (source_ == Source::none) at += play_nothing(at, left_over);
        else if (source_ == Source::stems && !pending) at += play_stems(at, left_over);
        else if (share_ > 0) at += fade_out(at, left_over);
        else if (pending) changing_ = 0, next_latency_ = x_.latency.load();
        else at += play_mix(at, left_over);
    }
    if (missed_) x_.counters.misses.fetch_add(1, std::memory_order_relaxed);
    put_out(offset, frames, out, settings);
    if (silence_.exchange(false) || settings.bypassed) notes_.cut(now_);
    notes_.process(x_, now_, frames, offset, midi);
    now_ += frames;
    x_.played.store(now_ - latency_, std::memory_order_release);
}

void Player::write_mix(const float* left, const float* right, int frames, const PlayHead& head,
                       bool offline) {
    const float* const in[2] = {left, right};
    for (size_t channel = 0; channel < 2; ++channel) {
        ring_pieces(now_, frames, [&](int64_t at, int64_t from, int64_t length) {
            float* const ring = x_.mix[channel].data() + at;
            const float* const line = in[channel];
            if (line == nullptr) std::fill(ring, ring + length, 0.0f);
            else std::transform(line + from, line + from + length, ring, clean);
        });
    }
    const int64_t number = x_.blocks.load(std::memory_order_relaxed);
    Record& record = x_.records[static_cast<size_t>(number % kRecords)];
    const auto relaxed = std::memory_order_relaxed;
    record.start.store(now_, relaxed);
    record.frames.store(frames, relaxed);
    record.position.store(head.known ? head.position : now_, relaxed);
    record.playing.store(head.known && head.playing, relaxed);
    record.offline.store(offline, relaxed);
    record.stamp_ns.store(x_.measure.load(relaxed) ? now_ns() : 0, relaxed);
    x_.blocks.store(number + 1, std::memory_order_release);
    x_.written.store(now_ + frames, std::memory_order_release);
}

// Notes of what is no longer heard end where the play head stops or jumps.
void Player::follow(const PlayHead& head, int frames) {
    if (head.known && last_head_.known && last_head_.playing) {
        const bool jumped = head.position != last_head_.position + last_frames_;
        if (!head.playing || jumped) notes_.cut(now_);
    }
    last_head_ = head;
    last_frames_ = frames;
}

bool Player::have(int64_t from, int64_t to) const {
    const int64_t end = x_.valid_to.load(std::memory_order_acquire);
    const int64_t begin = x_.valid_from.load(std::memory_order_acquire);
    return begin <= std::max<int64_t>(0, from) && to <= end;
}

// Until the stems of this block are there; asleep, because the host has no clock now.
void Player::wait_for_stems(int frames) {
    int64_t seen = x_.valid_to.load(std::memory_order_acquire);
    if (gave_up_ && seen == gave_up_at_) return;
    gave_up_ = false;
    int64_t since = now_ns();
    for (;;) {
        if (source_ == Source::none) latency_ = x_.latency.load(std::memory_order_acquire);
        const int64_t end = now_ + frames - latency_;
        const int64_t from = std::max<int64_t>(0, now_ - latency_);
        // Nothing goes out before it is known how late: what was skipped would be lost.
        const bool begun = source_ != Source::none || x_.known.load(std::memory_order_acquire);
        if (begun && (end <= 0 || have(from, end))) return;
        const int64_t there = x_.valid_to.load(std::memory_order_acquire);
        // What comes after a gap will not fill it.
        if (there >= end && x_.valid_from.load(std::memory_order_acquire) > from) return;
        const int64_t time = now_ns();
        if (there != seen) seen = there, since = time;
        if (static_cast<double>(time - since) > kPatienceS * 1e9) {
            gave_up_ = true;
            gave_up_at_ = seen;
            x_.counters.gave_up.fetch_add(1);
            return;
        }
        const timespec nap{0, 50000};
        nanosleep(&nap, nullptr);
    }
}

void Player::miss(int64_t sample) {
    missed_ = true;
    return_at_ = sample + kHold;
}

// Before the first sample of the mix comes out again there is silence everywhere.
int Player::play_nothing(int at, int length) {
    latency_ = x_.latency.load(std::memory_order_acquire);
    const int64_t sample = now_ + at - latency_;
    if (sample >= 0) {
        const bool there = have(sample, sample + length);
        source_ = there ? Source::stems : Source::mix;
        share_ = there ? kFade : 0;
        return 0;
    }
    const int silent = static_cast<int>(std::min<int64_t>(length, -sample));
    for (auto& line : main_) std::fill_n(line.data() + at, silent, 0.0f);
    for (auto& line : bus_) std::fill_n(line.data() + at, silent, 0.0f);
    return silent;
}

int Player::play_stems(int at, int length) {
    const int64_t sample = now_ + at - latency_;
    const int64_t end = x_.valid_to.load(std::memory_order_acquire);
    const int64_t begin = x_.valid_from.load(std::memory_order_acquire);
    const int64_t there = begin <= sample ? std::min<int64_t>(length, end - sample) : 0;
    if (there <= 0) {
        source_ = Source::mix;
        mirror_ = sample;
        miss(sample);  // also where they come while this is being decided
        return 0;
    }
    int count = static_cast<int>(there);
    if (share_ < kFade) {
        count = std::min(count, kFade - share_);
        blend(at, count, sample, 1, share_ + 1, 1);
        share_ += count;
    } else {
        for (size_t c = 0; c < bus_.size(); ++c) {
            ring_pieces(sample, count, [&](int64_t from, int64_t to, int64_t n) {
                std::copy_n(x_.stems[c].data() + from, n, bus_[c].data() + at + to);
            });
        }
        copy_mix(count, sample, main_[0].data() + at, main_[1].data() + at);
    }
    return count;
}

// Stems ended at `mirror_` without a word: what was heard of them fades out backwards, so
// that nothing jumps, and Other has what the mix has more than that.
int Player::fade_out(int at, int length) {
    const int64_t sample = now_ + at - latency_;
    if (source_ == Source::stems) {  // another latency is wanted
        source_ = Source::mix;
        mirror_ = sample;
    } else if (!have(sample, sample + length)) {
        miss(sample + length);
    }
    const int count = std::min(length, share_);
    blend(at, count, 2 * mirror_ - 1 - sample, -1, share_, -1);
    share_ -= count;
    return count;
}

int Player::play_mix(int at, int length) {
    const int64_t sample = now_ + at - latency_;
    if (!have(sample, sample + length)) {
        miss(sample + length);
    } else if (sample >= return_at_) {
        source_ = Source::stems;
        return 0;
    }
    for (auto& line : bus_) std::fill_n(line.data() + at, length, 0.0f);
    copy_mix(length, sample, main_[0].data() + at, main_[1].data() + at);
    for (size_t c = 0; c < 2; ++c) {
        std::copy_n(main_[c].data() + at, length, bus_[2 * kOther + c].data() + at);
    }
    return length;
}

// The mix as late as before, and as late as it will be: Main and Other go from one to the
// other while no stem plays.
int Player::change_latency(int at, int length) {
    const int count = std::min(length, kFade - changing_);
    for (auto& line : bus_) std::fill_n(line.data() + at, count, 0.0f);
    for (size_t c = 0; c < 2; ++c) {
        const float* const ring = x_.mix[c].data();
        for (int i = 0; i < count; ++i) {
            const int64_t input = now_ + at + i;
            const float share = curve_[static_cast<size_t>(changing_ + i + 1)];
            const auto sample = [&](int64_t n) { return n < 0 ? 0.0f : ring[ring_index(n)]; };
            const float before = sample(input - latency_), after = sample(input - next_latency_);
            const float value = before + share * (after - before);
            main_[c][static_cast<size_t>(at + i)] = value;
            bus_[2 * kOther + c][static_cast<size_t>(at + i)] = value;
        }
    }
    changing_ += count;
    if (changing_ == kFade) {
        changing_ = -1;
        latency_ = next_latency_;
        return_at_ = now_ + at + count - latency_;
    }
    return count;
}

// Stems with a share from the curve, read forwards or backwards from `sample`; Other has
// the rest of the mix, so that all together are the mix.
void Player::blend(int at, int length, int64_t sample, int step, int share, int share_step) {
    const int64_t mix_sample = now_ + at - latency_;
    copy_mix(length, mix_sample, main_[0].data() + at, main_[1].data() + at);
    for (int i = 0; i < length; ++i) {
        const size_t place = static_cast<size_t>(at + i);
        const float part = curve_[static_cast<size_t>(share + i * share_step)];
        const size_t from = ring_index(sample + i * step);
        for (size_t side = 0; side < 2; ++side) {
            float rest = main_[side][place];
            for (size_t b = 0; b < kBuses; ++b) {
                if (b == kOther) continue;
                const float value = part * x_.stems[2 * b + side][from];
                bus_[2 * b + side][place] = value;
                rest -= value;
            }
            bus_[2 * kOther + side][place] = rest;
        }
    }
}

void Player::copy_mix(int length, int64_t sample, float* left, float* right) const {
    float* const out[2] = {left, right};
    for (size_t c = 0; c < 2; ++c) {
        ring_pieces(sample, length, [&](int64_t from, int64_t to, int64_t n) {
            std::copy_n(x_.mix[c].data() + from, n, out[c] + to);
        });
    }
}

void Player::put_out(int offset, int frames, const Outputs& out, const Settings& settings) {
    for (size_t c = 0; c < 2; ++c) {
        if (out.main[c] != nullptr) std::copy_n(main_[c].data(), frames, out.main[c] + offset);
    }
    for (size_t b = 0; b < kBuses; ++b) {
        const float wanted = settings.bypassed ? 0.0f : settings.gain[b];
        if (gain_[b] < 0.0f) gain_[b] = wanted;  // the first block begins as it should be
        float gain = gain_[b];
        for (size_t side = 0; side < 2; ++side) {
            const float* const line = bus_[2 * b + side].data();
            float* const to = out.stems[2 * b + side];
            gain = gain_[b];
            if (gain == wanted) {
                if (to == nullptr) continue;
                if (gain == 1.0f) std::copy_n(line, frames, to + offset);
                else for (int i = 0; i < frames; ++i) to[offset + i] = gain * line[i];
                continue;
            }
            for (int i = 0; i < frames; ++i) {
                gain += gain_step_ * (wanted - gain);
                if (to != nullptr) to[offset + i] = gain * line[i];
            }
        }
        gain_[b] = std::abs(gain - wanted) < 1e-4f ? wanted : gain;
    }
}

}  // namespace rtsep
