// What an audio thread must not do, caught where it does it.
//
// While a thread's trap is set, its calls of malloc and its like, of locks, and of the
// system are counted.  The first two are this program's own functions in place of libc's; a
// system call is caught by the kernel (syscall user dispatch, Linux 5.11) and then done.
#pragma once

#include <cstddef>

namespace trap {

struct Counts {
    long allocations = 0, locks = 0, calls = 0;
    char first[64] = "";  // what the first one was
    bool any() const { return allocations + locks + calls > 0; }
};

bool arm();  // for this thread, once; false where the kernel cannot
void set();
void clear();
const Counts& counts();  // of this thread

}  // namespace trap
