// Watches the numbers of one stream, as rtsep_bridge.sequence does: see there for why.
#pragma once

#include <cstdint>

namespace rtsep {

class Sequence {
public:
    static constexpr int64_t kWindow = 64;

    // Whether the message of this number is newer than all before it, and to be used.
    bool is_new(int64_t number) {
        const int64_t expected = expected_;
        expected_ = -1;
        if (newest_ < 0) newest_ = number - 1;
        const int64_t ahead = number - newest_;
        if (ahead > kWindow && number != expected) {
            expected_ = number + 1;
            dropped += 1;
            return false;
        }
        if (ahead <= 0) {
            dropped += 1;
            return false;
        }
        lost += ahead - 1;
        newest_ = number;
        return true;
    }

    int64_t lost = 0;     // numbers that never came, or came too late
    int64_t dropped = 0;  // messages that came twice, late, or from too far ahead

private:
    int64_t newest_ = -1;
    int64_t expected_ = -1;
};

}  // namespace rtsep
