// What comes from an engine and what goes to it, block by block: see network.hpp.
#include <zmq.h>

#include <algorithm>
#include <cstring>

#include "network.hpp"
#include "notes.hpp"

namespace rtsep {
namespace {

constexpr int kMaxFrames = 1024;   // of a message
constexpr int kOfflineFrames = 256;  // the least that W is
constexpr int kMessagesAtOnce = 256;
constexpr const char* kBusNames[kBuses] = {"drums", "bass", "guitar", "piano", "", "", ""};

}  // namespace

void Network::receive() {
    for (int n = 0; n < kMessagesAtOnce && socket_ != nullptr; ++n) {
        zmq_msg_t parts[2];
        Frame frames[2] = {};
        size_t count = 0;
        bool more = true;
        while (more) {
            zmq_msg_t part;
            zmq_msg_init(&part);
            if (zmq_msg_recv(&part, socket_, ZMQ_DONTWAIT) < 0) {
                zmq_msg_close(&part);
                break;
            }
            more = zmq_msg_more(&part) != 0;
            if (count < 2) {
                zmq_msg_init(&parts[count]);
                zmq_msg_move(&parts[count], &part);
                auto* const data = static_cast<const uint8_t*>(zmq_msg_data(&parts[count]));
                frames[count] = {data, zmq_msg_size(&parts[count])};
            }
            zmq_msg_close(&part);
            count += 1;
        }
        if (count == 0) {
            stirred_ = false;
            return;
        }
        Message message;
        const Reason reason = decode(frames, count, message);
        if (reason == Reason::none) take(message);
        else if (reason == Reason::version) x_.counters.versions.fetch_add(1);
        else x_.counters.malformed.fetch_add(1);
        for (size_t i = 0; i < std::min<size_t>(count, 2); ++i) zmq_msg_close(&parts[i]);
    }
}

void Network::take(const Message& message) {
    heard_ = now_ns();
    switch (message.kind) {
        case Kind::hello:
            if (state_ == State::connecting) {
                {
                    const std::lock_guard<std::mutex> lock(mutex_);
                    status_.answered = true;
                }
                open();
            }
            break;
        case Kind::refusal: return take_refusal(message);
        case Kind::opened: return take_opened(message);
        case Kind::stems: return take_stems(message);
        case Kind::notes: return take_notes(message);
        case Kind::open:
        case Kind::mix:
        case Kind::control:
        case Kind::status: break;
    }
}

void Network::take_refusal(const Message& message) {
    // One in the middle of a stream says that a bridge has been started anew, or that a
    // control was none; asking again finds out which.
    if (state_ == State::playing) return open();
    const bool waits = state_ == State::connecting || state_ == State::opening;
    if (waits) say(State::refused, message.words);
}

void Network::take_opened(const Message& message) {
    if (message.session != session_ || session_ == 0) return;
    const bool opening = state_ == State::opening || state_ == State::refused;
    if (!opening && state_ != State::playing) return;
    if (message.latency > kMaxEngineLatency) {
        return say(State::refused, "an engine " + std::to_string(message.latency) +
                                       " samples behind the mix, too far for a plugin");
    }
    map_stems(message.names);
    state_latency(message.latency);
    x_.known.store(true, std::memory_order_release);
    if (opening) {
        opened_at_ = x_.written.load(std::memory_order_acquire);
        x_.counters.sessions.fetch_add(1);
    }
    say(State::playing, "playing");
}

// Stems by their names; the residual, which is the last, is always on Other.  A stranger
// takes the next Extra, and shares Other where none is left.
void Network::map_stems(const std::vector<std::string>& names) {
    if (names == names_) return;
    names_ = names;
    buses_.clear();
    int extra = kOther + 1;
    for (size_t n = 0; n < names.size(); ++n) {
        int bus = kOther;
        if (n + 1 < names.size()) {
            const auto* const known = std::find(std::begin(kBusNames), std::begin(kBusNames) + kOther, names[n]);
            if (known != std::begin(kBusNames) + kOther) bus = static_cast<int>(known - kBusNames);
            else if (extra < kBuses) bus = extra++;
        }
        buses_.push_back(bus);
    }
}

int Network::bus_of(const std::string& name) const {
    for (size_t n = 0; n < names_.size(); ++n) {
        if (names_[n] == name) return buses_[n];
    }
    for (int bus = 0; bus < kOther; ++bus) {
        if (name == kBusNames[bus]) return bus;
    }
    return kOther;
}

void Network::take_stems(const Message& message) {
    const int64_t end = message.sample + message.frames;
    const bool ours = state_ == State::playing && message.session == session_ && begun_;
    const bool fits = ours && message.sample >= begin_ && end <= sent_end_ &&
                      message.sample_rate == x_.sample_rate;
    if (!fits || !stems_numbers_.is_new(message.sequence)) {
        x_.counters.dropped.fetch_add(1);
        return;
    }
    x_.counters.lost.fetch_add(stems_numbers_.lost - lost_before_);
    lost_before_ = stems_numbers_.lost;
    if (message.latency != engine_latency_ && message.latency <= kMaxEngineLatency) {
        state_latency(message.latency);  // another engine in the same session
        if (changed_) changed_();
    }
    map_stems(message.names);
    const int64_t from = x_.valid_to.load(std::memory_order_relaxed);
    const int64_t begin = std::max(message.sample, from);
    if (begin >= end) {
        x_.counters.dropped.fetch_add(1);
        return;
    }
    const int64_t played = x_.played.load(std::memory_order_acquire);
    if (played > begin) x_.counters.late.fetch_add(std::min(end, played) - begin);
    if (begin > from) x_.valid_from.store(begin, std::memory_order_release);
    for (auto& ring : x_.stems) {
        ring_pieces(begin, end - begin, [&](int64_t at, int64_t, int64_t length) {
            std::memset(ring.data() + at, 0, static_cast<size_t>(length) * sizeof(float));
        });
    }
    for (size_t n = 0; n < buses_.size(); ++n) {
        for (size_t side = 0; side < 2; ++side) {
            float* const ring = x_.stems[2 * static_cast<size_t>(buses_[n]) + side].data();
            const size_t row = (2 * n + side) * static_cast<size_t>(message.frames);
            const uint8_t* const samples = message.samples + 4 * (row + static_cast<size_t>(begin - message.sample));
            ring_pieces(begin, end - begin, [&](int64_t at, int64_t offset, int64_t length) {
                for (int64_t i = 0; i < length; ++i) {
                    float value = 0.0f;
                    std::memcpy(&value, samples + 4 * (offset + i), 4);
                    ring[at + i] += value;  // several stems may share Other
                }
            });
        }
    }
    x_.valid_to.store(end, std::memory_order_release);
    answered_ = std::max(answered_, end + message.latency);
    if (x_.measure.load(std::memory_order_relaxed)) measure(end + message.latency);
}

// From the audio thread, which stamped the block that ends here, to the engine and back.
void Network::measure(int64_t end) {
    const int64_t blocks = x_.blocks.load(std::memory_order_acquire);
    for (int64_t n = blocks - 1; n >= 0 && n > blocks - kRecords / 2; --n) {
        const Record& record = x_.records[static_cast<size_t>(n % kRecords)];
        if (record.start.load(std::memory_order_relaxed) >= end) continue;
        const int64_t stamp = record.stamp_ns.load(std::memory_order_relaxed);
        const int64_t spent = (now_ns() - stamp) / 1000;
        if (stamp > 0) round_trips[std::min<size_t>(static_cast<size_t>(spent), kLongest)] += 1;
        return;
    }
}

void Network::take_notes(const Message& message) {
    const bool ours = state_ == State::playing && message.session == session_ && begun_;
    if (!ours || !notes_numbers_.is_new(message.sequence)) {
        x_.counters.dropped.fetch_add(1);
        return;
    }
    const uint32_t epoch = x_.epoch.load(std::memory_order_relaxed);
    int64_t queued = x_.notes_queued.load(std::memory_order_relaxed);
    for (const Note& note : message.notes) {
        if (note.known_at > sent_end_) {  // of a mix that nobody has sent
            x_.counters.dropped.fetch_add(1);
            continue;
        }
        if (queued - x_.notes_taken.load(std::memory_order_acquire) >= kNoteQueue) {
            // Without this one another may never end: all of them end now.
            x_.counters.notes_lost.fetch_add(1);
            x_.epoch.store(epoch + 1, std::memory_order_release);
            break;
        }
        const int bus = bus_of(note.stem);
        x_.notes[static_cast<size_t>(queued % kNoteQueue)] = {
            note.sample, note.known_at, epoch, kChannels[static_cast<size_t>(bus)],
            static_cast<uint8_t>(note.pitch), static_cast<uint8_t>(note.velocity)};
        x_.notes_queued.store(++queued, std::memory_order_release);
    }
}

// Where a session begins: with what comes next, or, where the host waits for stems, with
// what it waits for.
void Network::begin_mix(int64_t written, bool offline) {
    const int64_t played = std::max<int64_t>(0, x_.played.load(std::memory_order_acquire));
    begin_ = offline ? std::min(played, written) : std::min(opened_at_, written);
    sent_ = sent_end_ = answered_ = begin_;
    begun_ = true;
}

void Network::send_mix() {
    const int64_t blocks = x_.blocks.load(std::memory_order_acquire);
    if (blocks == 0) return;
    if (blocks != seen_blocks_) {
        seen_blocks_ = blocks;
        seen_at_ = now_ns();
    }
    const Record& newest = x_.records[static_cast<size_t>((blocks - 1) % kRecords)];
    const int64_t written = newest.start.load(std::memory_order_relaxed) +
                            newest.frames.load(std::memory_order_relaxed);
    const bool offline = newest.offline.load(std::memory_order_relaxed);
    if (!begun_) begin_mix(written, offline);
    for (int n = 0; n < kMessagesAtOnce; ++n) {
        // Without a clock in pieces of one length, so that a render comes out the same every
        // time, with its notes.  What waits unsent is less than W, so stems never lack it.
        const int64_t available = written - sent_;
        const int64_t piece = offline ? std::max(1, kOfflineFrames / step_) * step_ : step_;
        if (available < piece) return;
        const int64_t now = now_ns();
        const int64_t in_flight = sent_end_ - answered_;
        // As far as an engine may lag before the mix is kept from it: half a second, for
        // the newest matters; without a clock, as far as the protocol goes.
        const int64_t limit = offline ? kMaxInFlight - kMaxFrames
                                      : std::max<int64_t>(x_.sample_rate / 2, 4 * x_.max_block) + engine_latency_;
        if (in_flight > limit && (offline || now - held_since_ < 1000000000LL)) return;
        held_since_ = now;
        if (!offline && available > limit) {
            const int64_t skip = (available - x_.max_block) / step_ * step_;
            x_.counters.unsent.fetch_add(skip);
            sent_ += skip;
            continue;
        }
        const int frames = block_length(offline ? piece : available);
        if (!send_block(frames)) {
            if (offline) return;  // there is time to try again
            x_.counters.unsent.fetch_add(frames);
        } else {
            sent_end_ = sent_ + frames;
        }
        sent_ += frames;
    }
}

// How much goes with one message: what lies on one piece of the host's timeline, in steps.
int Network::block_length(int64_t available) {
    const auto relaxed = std::memory_order_relaxed;
    const int64_t blocks = x_.blocks.load(std::memory_order_acquire);
    record_ = std::max(record_, blocks - kRecords / 2);
    const auto record = [&](int64_t n) -> const Record& {
        return x_.records[static_cast<size_t>(n % kRecords)];
    };
    while (record_ + 1 < blocks && record(record_ + 1).start.load(relaxed) <= sent_) ++record_;
    const int64_t most = std::min<int64_t>(available, kMaxFrames);
    int64_t end = sent_;
    for (int64_t n = record_; n < blocks; ++n) {
        const Record& here = record(n);
        end = here.start.load(relaxed) + here.frames.load(relaxed);
        if (end - sent_ >= most || n + 1 == blocks) break;
        const Record& next = record(n + 1);
        const bool playing = here.playing.load(relaxed);
        const int64_t moved = playing ? here.frames.load(relaxed) : 0;
        const bool same = next.playing.load(relaxed) == playing &&
                          next.offline.load(relaxed) == here.offline.load(relaxed);
        const bool on = !playing || next.position.load(relaxed) == here.position.load(relaxed) + moved;
        if (!same || !on) break;
    }
    const int64_t length = std::min(std::max<int64_t>(end - sent_, 0), most);
    return static_cast<int>(std::max<int64_t>(length / step_, 1) * step_);
}

bool Network::send_block(int frames) {
    const Record& record = x_.records[static_cast<size_t>(record_ % kRecords)];
    const auto relaxed = std::memory_order_relaxed;
    Message message;
    message.kind = Kind::mix;
    message.session = session_;
    message.sample = sent_;
    message.sample_rate = x_.sample_rate;
    message.frames = frames;
    message.playing = record.playing.load(relaxed);
    message.offline = record.offline.load(relaxed);
    const int64_t inside = message.playing ? sent_ - record.start.load(relaxed) : 0;
    const int64_t position = std::clamp(record.position.load(relaxed), -kMaxSample / 2, kMaxSample / 2);
    message.position = position + inside;
    if (!send(message, true)) return false;
    zmq_msg_t samples;
    zmq_msg_init_size(&samples, static_cast<size_t>(frames) * 8);
    auto* const line = static_cast<char*>(zmq_msg_data(&samples));
    for (size_t c = 0; c < 2; ++c) {
        ring_pieces(sent_, frames, [&](int64_t at, int64_t offset, int64_t length) {
            std::memcpy(line + 4 * (static_cast<int64_t>(c) * frames + offset), x_.mix[c].data() + at,
                        static_cast<size_t>(length) * 4);
        });
    }
    if (zmq_msg_send(&samples, socket_, ZMQ_DONTWAIT) >= 0) return true;
    zmq_msg_close(&samples);
    return false;
}

}  // namespace rtsep
