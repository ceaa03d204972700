// Shows messages to the decoder, built with the address and undefined behaviour sanitizers.
//
//   messages_check < MESSAGES              one line a message: the reason, or the header as
//                                          the encoder writes it, in hex ("-": a status)
//   messages_check COUNT SEED < MESSAGES   damages them COUNT times, then takes each as it is
//
// MESSAGES: for each message the number of its frames, then each frame's length and bytes;
// numbers are 32 bits, little-endian.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>

#include "../messages.hpp"

using Bytes = std::vector<uint8_t>;
using Frames = std::vector<Bytes>;

static bool read_number(uint32_t& number) {
    uint8_t raw[4];
    if (std::fread(raw, 1, 4, stdin) != 4) return false;
    number = raw[0] | raw[1] << 8 | raw[2] << 16 | static_cast<uint32_t>(raw[3]) << 24;
    return true;
}

static bool read_message(Frames& frames) {
    uint32_t count = 0, size = 0;
    if (!read_number(count)) return false;
    frames.assign(count, {});
    for (Bytes& frame : frames) {
        if (!read_number(size)) return false;
        frame.resize(size);
        if (size > 0 && std::fread(frame.data(), 1, size, stdin) != size) return false;
    }
    return true;
}

// Each frame in a piece of memory of its own length, so that one byte too far is seen.
static rtsep::Reason take(const Frames& frames, rtsep::Message& message) {
    std::vector<std::unique_ptr<uint8_t[]>> copies;
    std::vector<rtsep::Frame> views;
    for (const Bytes& frame : frames) {
        copies.emplace_back(new uint8_t[frame.size()]);
        std::copy(frame.begin(), frame.end(), copies.back().get());
        views.push_back({copies.back().get(), frame.size()});
    }
    const rtsep::Reason reason = rtsep::decode(views.data(), views.size(), message);
    message.samples = nullptr;
    return reason;
}

static void print(const Frames& frames) {
    rtsep::Message message;
    const rtsep::Reason reason = take(frames, message);
    std::string header;
    if (reason != rtsep::Reason::none) std::printf("%s\n", rtsep::text(reason));
    else if (!rtsep::encode(message, header)) std::printf("-\n");
    else {
        for (char c : header) std::printf("%02x", static_cast<uint8_t>(c));
        std::printf("\n");
    }
}

static void damage(Frames& frames, const std::vector<Frames>& whole, std::mt19937_64& random) {
    const auto below = [&](size_t n) { return static_cast<size_t>(random() % (n ? n : 1)); };
    const size_t what = below(10);
    Bytes& frame = frames[what < 4 ? 0 : below(frames.size())];
    if (what == 0) {
        frames.resize(below(4));
        for (Bytes& any : frames) {
            any.resize(below(80));
            for (uint8_t& byte : any) byte = static_cast<uint8_t>(random());
        }
    } else if (what < 5) {
        for (size_t n = 1 + below(4); n > 0 && !frame.empty(); --n) {
            frame[below(frame.size())] ^= static_cast<uint8_t>(1u << below(8));
        }
    } else if (what < 7) {
        const size_t at = below(frame.size()), more = below(9);
        for (size_t n = 0; n < more; ++n) {
            frame.insert(frame.begin() + static_cast<long>(at), static_cast<uint8_t>(random()));
        }
    } else if (what < 9) frame.resize(below(frame.size()));
    else {
        const Frames& other = whole[below(whole.size())];
        frames.insert(frames.end(), other.begin(), other.end());
        frames.erase(frames.begin(), frames.begin() + static_cast<long>(below(3)));
    }
}

int main(int argc, char** argv) {
    std::vector<Frames> whole;
    for (Frames frames; read_message(frames);) whole.push_back(frames);
    if (argc < 3) {
        for (const Frames& frames : whole) print(frames);
        return 0;
    }
    const long count = std::atol(argv[1]);
    std::mt19937_64 random(std::strtoull(argv[2], nullptr, 10));
    long reasons[rtsep::kReasons] = {};
    for (long n = 0; n < count; ++n) {
        Frames frames = whole[random() % whole.size()];
        damage(frames, whole, random);
        rtsep::Message message;
        const rtsep::Reason reason = take(frames, message);
        reasons[static_cast<int>(reason)] += 1;
        std::string header;
        const bool status = message.kind == rtsep::Kind::status;
        // What was taken can be said again.
        if (reason == rtsep::Reason::none && !status && !rtsep::encode(message, header)) return 3;
    }
    for (int n = 0; n < rtsep::kReasons; ++n) {
        std::printf("%ld %s\n", reasons[n], rtsep::text(static_cast<rtsep::Reason>(n)));
    }
    for (const Frames& frames : whole) {
        rtsep::Message message;
        if (take(frames, message) != rtsep::Reason::none) return 4;
    }
    std::printf("%zu whole messages taken\n", whole.size());
    return 0;
}
