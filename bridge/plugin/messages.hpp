// What goes over the bridge: messages of version 1, to bytes and back (docs/protocol.md).
//
// Written by hand for the nine headers of the protocol, so that the plugin needs no library
// for msgpack.  Decoding is total: whatever the bytes, it gives a message or a reason and
// never reads a byte that is not there.  rtsep_bridge.messages is the same in Python; a test
// shows damaged messages to both and compares what they say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rtsep {

constexpr int kVersion = 1;
constexpr int kMaxStems = 16;
constexpr int kMaxBlock = 8192;
constexpr int kMaxNotes = 128;
constexpr size_t kMaxHeaderBytes = 16384;
constexpr int64_t kMaxSample = int64_t{1} << 62;
constexpr int kMinRate = 8000;
constexpr int kMaxRate = 192000;

enum class Kind { hello, refusal, open, opened, mix, stems, notes, control, status };
constexpr int kKinds = 9;

// Why a message is none; the words are those of rtsep_bridge.messages.Reason.
enum class Reason { none, frames, size, header, version, fields, samples };
constexpr int kReasons = 7;
const char* text(Reason reason);

struct Note {
    int64_t sample = 0;
    int64_t known_at = 0;  // never before `sample`
    std::string stem;
    int pitch = 0;
    int velocity = 0;  // 0 switches the note off
};

// All fields of all kinds: those that the kind does not have are left as they are.
struct Message {
    Kind kind = Kind::hello;
    int64_t session = 0;
    int64_t sequence = 0;
    int64_t sample = 0;
    int sample_rate = 0;
    std::vector<int> versions;          // hello, refusal
    std::string words;                  // hello: program; refusal: reason
    std::optional<std::string> preset;  // open, opened, control
    int step = 0;                       // open
    int64_t latency = 0;                // opened, stems
    int64_t note_delay = 0;             // opened
    std::vector<std::string> names;     // opened, stems: the residual last
    int frames = 0;                     // mix, stems
    int64_t position = 0;               // mix
    bool playing = false;               // mix
    bool offline = false;               // mix
    std::vector<Note> notes;
    std::optional<std::string> stem;  // control, and the two below
    std::optional<double> gain_db;
    std::optional<bool> mute;
    const uint8_t* samples = nullptr;  // in the frame that was decoded; not aligned

    int channels() const;  // of samples that go with the header
};

struct Frame {
    const uint8_t* data;
    size_t size;
};

// Read the frames of a message, without what a socket put before them.  `out` is only
// whole when nothing is returned.
Reason decode(const Frame* frames, size_t count, Message& out);

// The header of a message; false where `decode` would not take it.  A status is not
// written: an engine does that.
bool encode(const Message& message, std::string& header);

// Samples as floats; false where one is no finite number.
bool finite_samples(const uint8_t* samples, size_t count);

}  // namespace rtsep
