#include "trap.hpp"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

namespace trap {
namespace {

constexpr char kAllow = 0, kBlock = 1;
thread_local volatile char selector = kAllow;
thread_local volatile bool watching = false;
thread_local Counts mine;

void note(long& count, const char* what) {
    if (mine.first[0] == 0) strncpy(mine.first, what, sizeof mine.first - 1);
    count += 1;
}

void on_call(int, siginfo_t* info, void* context) {
    selector = kAllow;  // so that the way out of here is free
    auto& r = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    if (watching) {
        char what[32];
        snprintf(what, sizeof what, "system call %d", info->si_syscall);
        note(mine.calls, what);
    }
    const long result = syscall(r[REG_RAX], r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10],
                                r[REG_R8], r[REG_R9]);
    r[REG_RAX] = result < 0 ? -errno : result;
}

}  // namespace

bool arm() {
    struct sigaction action {};
    action.sa_sigaction = on_call;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSYS, &action, nullptr);
    return prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector) == 0;
}

void set() {
    watching = true;
    selector = kBlock;
}

void clear() {
    selector = kAllow;
    watching = false;
}

const Counts& counts() { return mine; }

void allocation(const char* what) {
    if (watching) note(mine.allocations, what);
}

void lock(const char* what) {
    if (watching) note(mine.locks, what);
}

template <typename Function>
Function next(const char* name) {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace trap

// Seen by every library of the process, also by those that it loads later.
#pragma GCC visibility push(default)
extern "C" {

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);

void* malloc(size_t n) { return trap::allocation("malloc"), __libc_malloc(n); }
void* calloc(size_t n, size_t m) { return trap::allocation("calloc"), __libc_calloc(n, m); }
void* realloc(void* p, size_t n) { return trap::allocation("realloc"), __libc_realloc(p, n); }
void* aligned_alloc(size_t a, size_t n) { return trap::allocation("aligned_alloc"), __libc_memalign(a, n); }
void* memalign(size_t a, size_t n) { return trap::allocation("memalign"), __libc_memalign(a, n); }
void free(void* p) {
    if (p != nullptr) trap::allocation("free");
    __libc_free(p);
}
int posix_memalign(void** p, size_t a, size_t n) {
    trap::allocation("posix_memalign");
    *p = __libc_memalign(a, n);
    return *p == nullptr ? ENOMEM : 0;
}

int pthread_mutex_lock(pthread_mutex_t* m) {
    static const auto real = trap::next<int (*)(pthread_mutex_t*)>("pthread_mutex_lock");
    trap::lock("pthread_mutex_lock");
    return real(m);
}
int pthread_mutex_trylock(pthread_mutex_t* m) {
    static const auto real = trap::next<int (*)(pthread_mutex_t*)>("pthread_mutex_trylock");
    trap::lock("pthread_mutex_trylock");
    return real(m);
}
int pthread_rwlock_rdlock(pthread_rwlock_t* m) {
    static const auto real = trap::next<int (*)(pthread_rwlock_t*)>("pthread_rwlock_rdlock");
    trap::lock("pthread_rwlock_rdlock");
    return real(m);
}
int pthread_rwlock_wrlock(pthread_rwlock_t* m) {
    static const auto real = trap::next<int (*)(pthread_rwlock_t*)>("pthread_rwlock_wrlock");
    trap::lock("pthread_rwlock_wrlock");
    return real(m);
}
int sem_post(sem_t* s) {
    static const auto real = trap::next<int (*)(sem_t*)>("sem_post");
    trap::lock("sem_post");
    return real(s);
}

}  // extern "C"
#pragma GCC visibility pop
