#include "messages.hpp"

#include <cmath>
#include <cstring>

namespace rtsep {
namespace {

struct Shape {
    const char* tag;
    int fields;  // with the tag
};
constexpr Shape kShapes[kKinds] = {{"hello", 8}, {"refusal", 8}, {"open", 8},
                                   {"opened", 10}, {"mix", 10}, {"stems", 9},
                                   {"notes", 7}, {"control", 10}, {"status", 7}};

// The bytes with which every message of a kind begins: array, tag, version.
std::string topic(Kind kind) {
    const Shape& shape = kShapes[static_cast<int>(kind)];
    const size_t length = std::strlen(shape.tag);
    std::string bytes;
    bytes += static_cast<char>(0x90 + shape.fields);
    bytes += static_cast<char>(0xa0 + length);
    bytes += shape.tag;
    bytes += static_cast<char>(kVersion);
    return bytes;
}

const std::string& topic_of(int kind) {
    static const std::string topics[kKinds] = {
        topic(Kind::hello), topic(Kind::refusal), topic(Kind::open),
        topic(Kind::opened), topic(Kind::mix), topic(Kind::stems),
        topic(Kind::notes), topic(Kind::control), topic(Kind::status)};
    return topics[kind];
}

bool is_name(const std::string& text) {
    if (text.empty() || text.size() > 64) return false;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        const bool inside = i > 0 && (c == '.' || c == '_' || c == '-');
        if (!plain && !inside) return false;
    }
    return true;
}

// Code points of strict UTF-8, the control characters among them; -1 where it is none.
int code_points(const uint8_t* p, size_t size, int& controls) {
    int count = 0;
    for (size_t i = 0; i < size; ++count) {
        const uint8_t first = p[i];
        int more = 0;
        uint32_t point = first;
        if (first >= 0xf0 && first <= 0xf4) more = 3, point = first & 0x07;
        else if (first >= 0xe0 && first < 0xf0) more = 2, point = first & 0x0f;
        else if (first >= 0xc2 && first < 0xe0) more = 1, point = first & 0x1f;
        else if (first >= 0x80) return -1;
        if (size - i <= static_cast<size_t>(more)) return -1;
        for (int k = 1; k <= more; ++k) {
            if ((p[i + k] & 0xc0) != 0x80) return -1;
            point = point << 6 | (p[i + k] & 0x3f);
        }
        const bool overlong = (more == 2 && point < 0x800) || (more == 3 && point < 0x10000);
        if (overlong || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return -1;
        controls += point < 0x20 || (point >= 0x7f && point < 0xa0);
        i += 1 + static_cast<size_t>(more);
    }
    return count;
}

// Reads msgpack from a frame.  After the first thing that is wrong, `bad` says so and
// everything else reads as nothing, so that callers ask once.
class Reader {
public:
    Reader(const uint8_t* data, size_t size) : p_(data), left_(size) {}

    Reason bad = Reason::none;

    bool at_end() const { return left_ == 0; }

    int64_t integer(int64_t low, int64_t high) {
        const uint8_t first = byte();
        int64_t value = 0;
        if (first < 0x80) value = first;
        else if (first >= 0xe0) value = static_cast<int8_t>(first);
        else if (first >= 0xcc && first <= 0xcf) {
            const uint64_t number = big_endian(1u << (first - 0xcc));
            if (number > static_cast<uint64_t>(INT64_MAX)) return fail(Reason::fields), 0;
            value = static_cast<int64_t>(number);
        } else if (first >= 0xd0 && first <= 0xd3) {
            const unsigned bytes = 1u << (first - 0xd0);
            const uint64_t number = big_endian(bytes);
            value = static_cast<int64_t>(number << (64 - 8 * bytes)) >> (64 - 8 * bytes);
        } else return fail(Reason::fields), 0;
        if (value < low || value > high) return fail(Reason::fields), 0;
        return value;
    }

    bool boolean() {
        const uint8_t first = byte();
        if (first != 0xc2 && first != 0xc3) fail(Reason::fields);
        return first == 0xc3;
    }

    // A float, or an integer in its place.
    double number() {
        if (left_ == 0) return fail(Reason::header), 0.0;
        if (*p_ == 0xca || *p_ == 0xcb) {
            const bool wide = byte() == 0xcb;
            const uint64_t bits = big_endian(wide ? 8 : 4);
            const uint32_t low = static_cast<uint32_t>(bits);
            double value = 0.0;
            float narrow = 0.0f;
            std::memcpy(&value, &bits, 8);
            std::memcpy(&narrow, &low, 4);
            return wide ? value : static_cast<double>(narrow);
        }
        return static_cast<double>(integer(INT64_MIN, INT64_MAX));
    }

    bool nil() {
        if (left_ == 0 || *p_ != 0xc0) return false;
        return byte(), true;
    }

    size_t array(size_t low, size_t high) {
        const uint8_t first = byte();
        uint64_t length = 0;
        if ((first & 0xf0) == 0x90) length = first & 0x0f;
        else if (first == 0xdc || first == 0xdd) length = big_endian(first == 0xdc ? 2 : 4);
        else return fail(Reason::fields), 0;
        if (bad == Reason::none && (length < low || length > high)) fail(Reason::fields);
        return bad == Reason::none ? static_cast<size_t>(length) : 0;
    }

    std::string text(size_t max_points) {
        const size_t length = string_length();
        if (bad != Reason::none) return {};
        int controls = 0;
        const int points = code_points(p_, length, controls);
        if (points < 0) return fail(Reason::header), std::string();
        if (controls > 0 || static_cast<size_t>(points) > max_points) {
            return fail(Reason::fields), std::string();
        }
        std::string value(reinterpret_cast<const char*>(p_), length);
        take(length);
        return value;
    }

    std::string name() {
        std::string value = text(64);
        if (bad == Reason::none && !is_name(value)) fail(Reason::fields);
        return value;
    }

    // A map and all that is in it, which nobody here reads.
    void skip_map() {
        if (left_ == 0) return fail(Reason::header);
        const uint8_t first = *p_;
        if ((first & 0xf0) != 0x80 && first != 0xde && first != 0xdf) return fail(Reason::fields);
        // Every level of nesting costs at least a byte, so `left_` bounds the work.
        uint64_t open = 1;
        while (open > 0 && bad == Reason::none) {
            open -= 1;
            open += skip_one();
            if (open > left_) return fail(Reason::header);
        }
    }

    void fail(Reason reason) {
        if (bad == Reason::none) bad = reason;
        left_ = 0;
    }

private:
    const uint8_t* p_;
    size_t left_;

    uint8_t byte() {
        if (left_ == 0) return fail(Reason::header), uint8_t{0xc1};
        left_ -= 1;
        return *p_++;
    }

    void take(uint64_t bytes) {
        if (bytes > left_) return fail(Reason::header);
        p_ += bytes;
        left_ -= static_cast<size_t>(bytes);
    }

    uint64_t big_endian(unsigned bytes) {
        if (bytes > left_) return fail(Reason::header), 0;
        uint64_t value = 0;
        for (unsigned i = 0; i < bytes; ++i) value = value << 8 | p_[i];
        take(bytes);
        return value;
    }

    size_t string_length() {
        const uint8_t first = byte();
        uint64_t length = 0;
        if ((first & 0xe0) == 0xa0) length = first & 0x1f;
        else if (first >= 0xd9 && first <= 0xdb) length = big_endian(1u << (first - 0xd9));
        else return fail(Reason::fields), 0;
        if (length > left_) return fail(Reason::header), 0;
        return static_cast<size_t>(length);
    }

    // One value without what it contains; how many values those are.
    uint64_t skip_one() {
        const uint8_t first = byte();
        if (first < 0x80 || first >= 0xe0) return 0;
        if (first < 0x90) return 2u * (first & 0x0f);
        if (first < 0xa0) return first & 0x0f;
        if (first < 0xc0) return take(first & 0x1f), 0;
        switch (first) {
            case 0xc0: case 0xc2: case 0xc3: return 0;
            case 0xc4: case 0xd9: return take(big_endian(1)), 0;
            case 0xc5: case 0xda: return take(big_endian(2)), 0;
            case 0xc6: case 0xdb: return take(big_endian(4)), 0;
            case 0xc7: return take(big_endian(1) + 1), 0;
            case 0xc8: return take(big_endian(2) + 1), 0;
            case 0xc9: return take(big_endian(4) + 1), 0;
            case 0xca: return take(4), 0;
            case 0xcb: return take(8), 0;
            case 0xcc: case 0xcd: case 0xce: case 0xcf: return take(1u << (first - 0xcc)), 0;
            case 0xd0: case 0xd1: case 0xd2: case 0xd3: return take(1u << (first - 0xd0)), 0;
            case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8:
                return take((1u << (first - 0xd4)) + 1), 0;
            case 0xdc: return big_endian(2);
            case 0xdd: return big_endian(4);
            case 0xde: return 2 * big_endian(2);
            case 0xdf: return 2 * big_endian(4);
            default: return fail(Reason::header), 0;
        }
    }
};

void read_versions(Reader& in, Message& out) {
    out.versions.clear();
    for (size_t left = in.array(1, 8); left > 0; --left) {
        out.versions.push_back(static_cast<int>(in.integer(1, 127)));
    }
}

void read_names(Reader& in, Message& out) {
    out.names.clear();
    for (size_t left = in.array(1, kMaxStems); left > 0 && in.bad == Reason::none; --left) {
        std::string name = in.name();
        for (const std::string& other : out.names) {
            if (other == name) return in.fail(Reason::fields);
        }
        out.names.push_back(std::move(name));
    }
}

void read_notes(Reader& in, Message& out) {
    out.notes.clear();
    for (size_t left = in.array(1, kMaxNotes); left > 0 && in.bad == Reason::none; --left) {
        Note note;
        in.array(5, 5);
        note.sample = in.integer(-kMaxSample, kMaxSample);
        note.known_at = in.integer(-kMaxSample, kMaxSample);
        note.stem = in.name();
        note.pitch = static_cast<int>(in.integer(0, 127));
        note.velocity = static_cast<int>(in.integer(0, 127));
        if (note.known_at < note.sample) in.fail(Reason::fields);
        out.notes.push_back(std::move(note));
    }
}

void read_control(Reader& in, Message& out) {
    out.preset.reset(), out.stem.reset(), out.gain_db.reset(), out.mute.reset();
    if (!in.nil()) out.preset = in.name();
    if (!in.nil()) out.stem = in.name();
    if (!in.nil()) out.gain_db = in.number();
    if (!in.nil()) out.mute = in.boolean();
    const bool strip = out.gain_db.has_value() || out.mute.has_value();
    const bool gain_fits = !out.gain_db || (*out.gain_db >= -120.0 && *out.gain_db <= 24.0);
    if (strip != out.stem.has_value() || !(strip || out.preset) || !gain_fits) {
        in.fail(Reason::fields);
    }
}

void read_fields(Reader& in, Message& out) {
    switch (out.kind) {
        case Kind::hello:
        case Kind::refusal:
            read_versions(in, out);
            out.words = in.text(256);
            break;
        case Kind::open:
            out.preset = in.name();
            out.step = static_cast<int>(in.integer(1, kMaxBlock));
            break;
        case Kind::opened:
            out.preset = in.name();
            out.latency = in.integer(0, kMaxSample);
            out.note_delay = in.integer(0, kMaxSample);
            read_names(in, out);
            break;
        case Kind::mix:
            out.frames = static_cast<int>(in.integer(1, kMaxBlock));
            out.position = in.integer(-kMaxSample, kMaxSample);
            out.playing = in.boolean();
            out.offline = in.boolean();
            break;
        case Kind::stems:
            out.frames = static_cast<int>(in.integer(1, kMaxBlock));
            out.latency = in.integer(0, kMaxSample);
            read_names(in, out);
            break;
        case Kind::notes: read_notes(in, out); break;
        case Kind::control: read_control(in, out); break;
        case Kind::status: in.skip_map(); break;
    }
}

// What stands where every version has its number; -1 where that has another form.
int version_of(const Frame& header) {
    const uint8_t* p = header.data;
    if ((p[0] & 0xf0) == 0x90 && header.size > 1 && (p[1] & 0xe0) == 0xa0) {
        const size_t at = 2u + (p[1] & 0x1f);
        if (at < header.size && p[at] < 0x80) return p[at];
    }
    return -1;
}

void put_big_endian(std::string& out, int first, uint64_t value, int bytes) {
    out += static_cast<char>(first);
    for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(value >> (8 * i));
}

void put(std::string& out, int64_t value) {
    const uint64_t bits = static_cast<uint64_t>(value);
    if (value >= -32 && value < 128) out += static_cast<char>(value);
    else if (value >= 0 && value <= UINT8_MAX) put_big_endian(out, 0xcc, bits, 1);
    else if (value >= 0 && value <= UINT16_MAX) put_big_endian(out, 0xcd, bits, 2);
    else if (value >= 0 && value <= UINT32_MAX) put_big_endian(out, 0xce, bits, 4);
    else if (value >= 0) put_big_endian(out, 0xcf, bits, 8);
    else if (value >= INT8_MIN) put_big_endian(out, 0xd0, bits, 1);
    else if (value >= INT16_MIN) put_big_endian(out, 0xd1, bits, 2);
    else if (value >= INT32_MIN) put_big_endian(out, 0xd2, bits, 4);
    else put_big_endian(out, 0xd3, bits, 8);
}

void put(std::string& out, const std::string& value) {
    if (value.size() < 32) out += static_cast<char>(0xa0 + value.size());
    else if (value.size() <= UINT8_MAX) put_big_endian(out, 0xd9, value.size(), 1);
    else put_big_endian(out, 0xda, value.size(), 2);
    out += value;
}

void put_array(std::string& out, size_t length) {
    if (length < 16) out += static_cast<char>(0x90 + length);
    else put_big_endian(out, 0xdc, length, 2);
}

void put(std::string& out, bool value) { out += static_cast<char>(value ? 0xc3 : 0xc2); }

void put_fields(std::string& out, const Message& m) {
    const auto names = [&] {
        put_array(out, m.names.size());
        for (const std::string& name : m.names) put(out, name);
    };
    switch (m.kind) {
        case Kind::hello:
        case Kind::refusal:
            put_array(out, m.versions.size());
            for (int version : m.versions) put(out, int64_t{version});
            put(out, m.words);
            break;
        case Kind::open:
            put(out, m.preset.value_or(""));
            put(out, int64_t{m.step});
            break;
        case Kind::opened:
            put(out, m.preset.value_or(""));
            put(out, m.latency);
            put(out, m.note_delay);
            names();
            break;
        case Kind::mix:
            put(out, int64_t{m.frames});
            put(out, m.position);
            put(out, m.playing);
            put(out, m.offline);
            break;
        case Kind::stems:
            put(out, int64_t{m.frames});
            put(out, m.latency);
            names();
            break;
        case Kind::notes:
            put_array(out, m.notes.size());
            for (const Note& note : m.notes) {
                put_array(out, 5);
                put(out, note.sample);
                put(out, note.known_at);
                put(out, note.stem);
                put(out, int64_t{note.pitch});
                put(out, int64_t{note.velocity});
            }
            break;
        case Kind::control: {
            const auto nil = [&] { out += '\xc0'; };
            m.preset ? put(out, *m.preset) : nil();
            m.stem ? put(out, *m.stem) : nil();
            if (m.gain_db) {
                uint64_t bits = 0;
                std::memcpy(&bits, &*m.gain_db, 8);
                put_big_endian(out, 0xcb, bits, 8);
            } else nil();
            m.mute ? put(out, *m.mute) : nil();
            break;
        }
        case Kind::status: break;
    }
}

}  // namespace

const char* text(Reason reason) {
    switch (reason) {
        case Reason::none: return "a message";
        case Reason::frames: return "not one or two frames, or samples where none belong";
        case Reason::size: return "a frame too long or too short";
        case Reason::header: return "a header that is not msgpack";
        case Reason::version: return "a version that is not spoken here";
        case Reason::fields: return "fields that are missing, unknown or out of bounds";
        case Reason::samples: return "samples that are not finite numbers";
    }
    return "";
}

int Message::channels() const {
    if (kind == Kind::stems) return 2 * static_cast<int>(names.size());
    return kind == Kind::mix ? 2 : 0;
}

bool finite_samples(const uint8_t* samples, size_t count) {
    // No early exit: a loop without one is done eight at a time.
    uint32_t bad = 0;
    for (size_t i = 0; i < count; ++i) {
        uint32_t bits = 0;
        std::memcpy(&bits, samples + 4 * i, 4);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return bad == 0;
}

static Reason decode_header(const Frame& frame, Message& out) {
    if (frame.size == 0 || frame.size > kMaxHeaderBytes) return Reason::size;
    const int version = version_of(frame);
    if (version >= 0 && version != kVersion) return Reason::version;
    int kind = 0;
    for (; kind < kKinds; ++kind) {
        const std::string& start = topic_of(kind);
        const bool fits = frame.size >= start.size();
        if (fits && std::memcmp(frame.data, start.data(), start.size()) == 0) break;
    }
    if (kind == kKinds) return Reason::fields;
    out.kind = static_cast<Kind>(kind);
    const size_t skip = topic_of(kind).size();
    Reader in(frame.data + skip, frame.size - skip);
    out.session = in.integer(1, INT64_MAX);
    out.sequence = in.integer(0, INT64_MAX);
    out.sample = in.integer(-kMaxSample, kMaxSample);
    out.sample_rate = static_cast<int>(in.integer(kMinRate, kMaxRate));
    read_fields(in, out);
    if (in.bad == Reason::none && !in.at_end()) return Reason::header;
    return in.bad;
}

Reason decode(const Frame* frames, size_t count, Message& out) {
    if (count < 1 || count > 2) return Reason::frames;
    const Reason bad = decode_header(frames[0], out);
    if (bad != Reason::none) return bad;
    out.samples = nullptr;
    const size_t channels = static_cast<size_t>(out.channels());
    if (count != (channels > 0 ? 2u : 1u)) return Reason::frames;
    if (channels == 0) return Reason::none;
    const size_t values = channels * static_cast<size_t>(out.frames);
    if (frames[1].size != 4 * values) return Reason::size;
    if (!finite_samples(frames[1].data, values)) return Reason::samples;
    out.samples = frames[1].data;
    return Reason::none;
}

bool encode(const Message& message, std::string& header) {
    header = topic_of(static_cast<int>(message.kind));
    put(header, message.session);
    put(header, message.sequence);
    put(header, message.sample);
    put(header, int64_t{message.sample_rate});
    put_fields(header, message);
    Message read;
    const Frame frame{reinterpret_cast<const uint8_t*>(header.data()), header.size()};
    return message.kind != Kind::status && decode_header(frame, read) == Reason::none;
}

}  // namespace rtsep
