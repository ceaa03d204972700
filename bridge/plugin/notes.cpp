#include "notes.hpp"

#include <algorithm>

namespace rtsep {

void Notes::restart() {
    cut(INT64_MIN);
    last_due_.fill(INT64_MIN);
}

void Notes::cut(int64_t sample) {
    count_ = 0;
    from_ = sample;
    all_off_ = true;
}

void Notes::process(Exchange& exchange, int64_t now, int frames, int offset, MidiBlock& out) {
    const uint32_t epoch = exchange.epoch.load(std::memory_order_acquire);
    if (epoch != epoch_) {
        epoch_ = epoch;
        count_ = 0;
        all_off_ = true;
    }
    if (all_off_) {
        all_off_ = false;
        for (int key = 0; key < 16 * 128; ++key) {
            if (!sounding_[static_cast<size_t>(key)]) continue;
            if (out.full()) {
                all_off_ = true;
                return;
            }
            put(key / 128, key % 128, 0, offset, out);
        }
    }
    take(exchange, now);
    // In the order of their times, those of one time as they came.  A note may need two
    // places: what sounds already is switched off first.
    int left = 0;
    for (int i = 0; i < count_; ++i) {
        const Pending note = pending_[static_cast<size_t>(i)];
        if (note.due < now + frames && out.count + 2 <= MidiBlock::kRoom) {
            const int64_t frame = std::max<int64_t>(0, note.due - now);
            play(note, offset + static_cast<int>(frame), out);
        } else {
            pending_[static_cast<size_t>(left++)] = note;
        }
    }
    count_ = left;
}

void Notes::take(Exchange& exchange, int64_t now) {
    const int64_t end = exchange.notes_queued.load(std::memory_order_acquire);
    int64_t next = exchange.notes_taken.load(std::memory_order_relaxed);
    const int64_t latency = exchange.latency.load(std::memory_order_relaxed);
    const int64_t slack = exchange.slack.load(std::memory_order_relaxed);
    for (; next < end && count_ < kPending; ++next) {
        const QueuedNote& note = exchange.notes[static_cast<size_t>(next % kNoteQueue)];
        const int32_t newer = static_cast<int32_t>(note.epoch - epoch_);
        if (newer > 0) break;  // of an epoch that was not there a moment ago
        if (newer < 0 || note.sample < from_) continue;
        int64_t& last = last_due_[static_cast<size_t>(note.channel * 128 + note.pitch)];
        // Never before one that came earlier for this key: an end stays behind its start.
        const int64_t due = std::max({note.sample + latency, note.known_at + slack, last, now});
        last = due;
        int at = count_++;
        while (at > 0 && pending_[static_cast<size_t>(at - 1)].due > due) {
            pending_[static_cast<size_t>(at)] = pending_[static_cast<size_t>(at - 1)];
            --at;
        }
        pending_[static_cast<size_t>(at)] = {due, note.channel, note.pitch, note.velocity};
    }
    exchange.notes_taken.store(next, std::memory_order_release);
}

void Notes::play(const Pending& note, int frame, MidiBlock& out) {
    const bool sounded = sounds(note.channel, note.pitch);
    if (sounded) put(note.channel, note.pitch, 0, frame, out);
    if (note.velocity > 0) put(note.channel, note.pitch, note.velocity, frame, out);
}

void Notes::put(int channel, int pitch, int velocity, int frame, MidiBlock& out) {
    sounds(channel, pitch) = velocity > 0;
    MidiEvent& event = out.events[static_cast<size_t>(out.count++)];
    event.frame = frame;
    event.bytes[0] = static_cast<uint8_t>((velocity > 0 ? 0x90 : 0x80) | channel);
    event.bytes[1] = static_cast<uint8_t>(pitch);
    event.bytes[2] = static_cast<uint8_t>(velocity);
}

}  // namespace rtsep
