#include "network.hpp"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <cstring>
#include <chrono>
#include <numeric>
#include <random>

namespace rtsep {
namespace {

constexpr int64_t kMs = 1000000;
constexpr int64_t kSilence = 3000 * kMs;   // an engine that says nothing for so long has gone
constexpr int64_t kOpening = 5000 * kMs;   // one that gets ready may be busy
constexpr int64_t kRetry = 500 * kMs;
constexpr int64_t kRetryRefused = 1000 * kMs;
constexpr int kPriority = 60;              // below a sound server's and a host's own
constexpr int kQueue = 512;                // messages in ZeroMQ's hands, each way
constexpr int64_t kMaxMessage = 4 * 2 * kMaxStems * int64_t{kMaxBlock} + int64_t{kMaxHeaderBytes};

int64_t random_session() {
    std::random_device device;
    const uint64_t bits = static_cast<uint64_t>(device()) << 32 | device();
    return static_cast<int64_t>(bits >> 1) | 1;
}

// Real-time priority where the system grants it: the priority that was taken, or 0.
int take_priority() {
    rlimit limit{};
    int priority = kPriority;
    if (getrlimit(RLIMIT_RTPRIO, &limit) == 0 && geteuid() != 0) {
        priority = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, kPriority));
    }
    if (priority < 1) return 0;
    sched_param param{};
    param.sched_priority = priority;
    return pthread_setschedparam(pthread_self(), SCHED_FIFO, &param) == 0 ? priority : 0;
}

}  // namespace

int64_t working_time(int block, int sample_rate, bool local) {
    const int64_t headroom = 256 * (sample_rate > 64000 ? 2 : 1) * (local ? 1 : 4);
    return (headroom + block - 1) / block * block;
}

Network::Network(Exchange& exchange, std::function<void()> changed)
    : round_trips(kLongest + 1, 0), x_(exchange), changed_(std::move(changed)) {
    wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

Network::~Network() {
    stop();
    if (wake_ >= 0) close(wake_);
}

void Network::start() {
    stop();
    stop_ = false;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        now_wanted_ = wanted_;
        seen_wishes_ = wishes_;
        status_.answered = false;
    }
    step_ = std::gcd(x_.max_block, 128);
    begun_ = false;
    sent_ = sent_end_ = begin_ = answered_ = 0;
    record_ = seen_blocks_ = 0;
    std::string problem;
    const std::string text = now_wanted_.address.empty() ? default_address() : now_wanted_.address;
    if (!parse_address(text, address_, problem)) address_.local = true;
    state_latency(now_wanted_.engine_latency);
    state_ = State::stopped;
    say(State::connecting, "connecting");
    thread_ = std::thread([this] { run(); });
}

void Network::stop() {
    if (!thread_.joinable()) return;
    stop_ = true;
    const uint64_t one = 1;
    if (write(wake_, &one, sizeof one) < 0) {}  // it looks by itself within a few milliseconds
    thread_.join();
    const std::lock_guard<std::mutex> lock(mutex_);
    status_.state = State::stopped;
    status_.text = "stopped";
}

void Network::want(const Wanted& wanted) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const bool same = wanted.address == wanted_.address && wanted.preset == wanted_.preset;
    wanted_ = wanted;
    if (!same) wishes_ += 1;
}

Wanted Network::wanted() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return wanted_;
}

Status Network::status() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return status_;
}

void Network::wait_ready(double unanswered_s, double answered_s) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto begin = std::chrono::steady_clock::now();
    for (;;) {
        const State state = status_.state;
        const bool over = state == State::playing || state == State::unusable ||
                          state == State::refused || state == State::stopped;
        if (over) return;
        const std::chrono::duration<double> limit(status_.answered ? answered_s : unanswered_s);
        const auto until = begin + std::chrono::duration_cast<std::chrono::nanoseconds>(limit);
        if (std::chrono::steady_clock::now() >= until) return;
        told_.wait_until(lock, until);
    }
}

void Network::say(State state, const std::string& text) {
    if (state != state_) entered_ = now_ns();
    state_ = state;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        status_.state = state;
        status_.text = text;
        status_.step = step_;
    }
    told_.notify_all();
    if (changed_) changed_();
}

void Network::state_latency(int64_t engine) {
    engine_latency_ = std::clamp<int64_t>(engine, 0, kMaxEngineLatency);
    const int64_t slack = working_time(x_.max_block, x_.sample_rate, address_.local);
    x_.slack.store(slack, std::memory_order_relaxed);
    x_.latency.store(engine_latency_ + slack, std::memory_order_release);
    const std::lock_guard<std::mutex> lock(mutex_);
    status_.engine_latency = engine_latency_;
}

void Network::run() {
    pthread_setname_np(pthread_self(), "rtsep-bridge");
    prctl(PR_SET_TIMERSLACK, 10000UL, 0UL, 0UL, 0UL);
    const int priority = take_priority();
    context_ = zmq_ctx_new();
    if (context_ != nullptr && priority > 0) {
        // Only what was granted to this thread: ZeroMQ ends the process where it is refused.
        zmq_ctx_set(context_, ZMQ_THREAD_SCHED_POLICY, SCHED_FIFO);
        zmq_ctx_set(context_, ZMQ_THREAD_PRIORITY, priority);
    }
    connect();
    while (!stop_.load(std::memory_order_relaxed)) {
        if (stirred_) receive();
        keep_up(now_ns());
        if (state_ == State::playing) send_mix();
        sleep();
    }
    leave_stream();
    disconnect();
    if (context_ != nullptr) zmq_ctx_term(context_);
    context_ = nullptr;
}

void Network::disconnect() {
    if (socket_ != nullptr) zmq_close(socket_);
    socket_ = nullptr;
    stirred_ = false;
}

// What an engine said no longer holds: nothing of it may sound on.
void Network::leave_stream() {
    x_.epoch.fetch_add(1, std::memory_order_release);
    begun_ = false;
    session_ = 0;
}

bool Network::secure() {
    if (address_.server_key.empty()) return true;
    KeyPair pair;
    std::string problem;
    if (!load_client_keys(pair, problem)) return say(State::unusable, problem), false;
    zmq_setsockopt(socket_, ZMQ_CURVE_SERVERKEY, address_.server_key.c_str(), 41);
    zmq_setsockopt(socket_, ZMQ_CURVE_PUBLICKEY, pair.public_key.c_str(), 41);
    if (zmq_setsockopt(socket_, ZMQ_CURVE_SECRETKEY, pair.secret_key.c_str(), 41) == 0) return true;
    return say(State::unusable, "this libzmq has no CURVE"), false;
}

void Network::connect() {
    disconnect();
    leave_stream();
    std::string problem;
    const std::string text = now_wanted_.address.empty() ? default_address() : now_wanted_.address;
    if (!parse_address(text, address_, problem)) return say(State::unusable, problem);
    if (x_.sample_rate < kMinRate || x_.sample_rate > kMaxRate) {
        return say(State::unusable, std::to_string(x_.sample_rate) + " Hz; the bridge has 8,000 to 192,000");
    }
    state_latency(engine_latency_);
    socket_ = context_ != nullptr ? zmq_socket(context_, ZMQ_DEALER) : nullptr;
    if (socket_ == nullptr) return say(State::unusable, "no more sockets in this process");
    const auto set = [&](int option, int value) { zmq_setsockopt(socket_, option, &value, sizeof value); };
    set(ZMQ_LINGER, 0);
    set(ZMQ_SNDHWM, kQueue);
    set(ZMQ_RCVHWM, kQueue);
    set(ZMQ_RECONNECT_IVL, 50);
    set(ZMQ_RECONNECT_IVL_MAX, 500);
    set(ZMQ_IPV6, address_.ipv6 ? 1 : 0);
    const int64_t longest = kMaxMessage;
    zmq_setsockopt(socket_, ZMQ_MAXMSGSIZE, &longest, sizeof longest);
    if (!secure()) return;
    if (zmq_connect(socket_, address_.endpoint.c_str()) != 0) {
        return say(State::unusable, address_.endpoint + ": " + zmq_strerror(zmq_errno()));
    }
    if (state_ != State::connecting) say(State::connecting, "no answer from " + address_.endpoint);
    size_t size = sizeof fd_;
    zmq_getsockopt(socket_, ZMQ_FD, &fd_, &size);
    entered_ = heard_ = now_ns();
    say_hello();
}

void Network::say_hello() {
    Message hello;
    hello.kind = Kind::hello;
    hello.session = random_session();
    hello.sample = x_.written.load(std::memory_order_acquire);
    hello.sample_rate = x_.sample_rate;
    hello.versions = {kVersion};
    hello.words = "rtsep plugin 0.1.0";
    next_number_.fill(0);
    send(hello, false);
}

void Network::open() {
    leave_stream();
    preset_ = now_wanted_.preset;
    session_ = random_session();
    next_number_.fill(0);
    stems_numbers_ = notes_numbers_ = {};
    lost_before_ = 0;
    Message message;
    message.kind = Kind::open;
    message.session = session_;
    message.sample = x_.written.load(std::memory_order_acquire);
    message.sample_rate = x_.sample_rate;
    message.preset = preset_;
    message.step = step_;
    send(message, false);
    entered_ = now_ns();
    say(State::opening, "an engine is getting ready");
}

// What time brings: wishes of the host's, silence, another try.
void Network::keep_up(int64_t now) {
    if (seen_wishes_ != wishes_.load(std::memory_order_acquire)) {
        Wanted before = now_wanted_;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            now_wanted_ = wanted_;
            seen_wishes_ = wishes_;
            if (before.address != now_wanted_.address) status_.answered = false;
        }
        if (before.address != now_wanted_.address) return connect();
        const bool speaking = state_ == State::opening || state_ == State::playing;
        if (speaking || state_ == State::refused) return open();
    }
    const int64_t waited = now - entered_;
    switch (state_) {
        case State::connecting:
            if (waited > (address_.local ? kRetry : 4 * kRetry)) {
                say(State::connecting, "no answer from " + address_.endpoint);
                connect();
            }
            break;
        case State::opening:
            if (waited > kOpening && now - heard_ > kSilence) connect();
            break;
        case State::refused:
            if (waited > kRetryRefused) connect();
            break;
        case State::playing:
            if (now - heard_ > kSilence) connect();
            break;
        case State::unusable:
            if (waited > 4 * kRetryRefused) connect();  // keys may be there by now
            break;
        case State::stopped: break;
    }
}

// Asleep until something comes, or the next block of the mix should be there.  That moment
// is guessed from the last ones, so that a few short naps before it are enough.
int64_t Network::pause_ns() {
    const int64_t now = now_ns();
    const int64_t blocks = x_.blocks.load(std::memory_order_acquire);
    if (state_ != State::playing) return 5 * kMs;
    if (blocks != seen_blocks_) return 0;  // came since the last look
    const Record& last = x_.records[static_cast<size_t>((blocks + kRecords - 1) % kRecords)];
    const int64_t frames = blocks > 0 ? last.frames.load(std::memory_order_relaxed) : x_.max_block;
    const int64_t period = frames * 1000000000LL / x_.sample_rate;
    const bool offline = blocks > 0 && last.offline.load(std::memory_order_relaxed);
    const int64_t since = now - seen_at_;
    if (offline) return since < 20 * kMs ? kMs / 20 : kMs;
    const int64_t early = seen_at_ + period - kMs / 5 - now;
    if (early > kMs / 10) return std::min(early, 5 * kMs);
    // Overdue: ever longer naps, an eighth of what has been waited beyond a period.
    return std::clamp((since - period) / 8, kMs / 10, 2 * kMs);
}

void Network::sleep() {
    if (stirred_) return;
    pollfd fds[2] = {{wake_, POLLIN, 0}, {fd_, POLLIN, 0}};
    const int64_t pause = pause_ns();
    const timespec limit{pause / 1000000000, pause % 1000000000};
    ppoll(fds, socket_ != nullptr ? 2 : 1, &limit, nullptr);
    stirred_ = socket_ != nullptr && (fds[1].revents & POLLIN) != 0;
    uint64_t count = 0;
    if ((fds[0].revents & POLLIN) != 0 && read(wake_, &count, sizeof count) < 0) {}
}

bool Network::send(const Message& message, bool samples) {
    if (socket_ == nullptr) return false;
    Message numbered = message;
    numbered.sequence = next_number_[static_cast<size_t>(message.kind)]++;
    if (!encode(numbered, header_)) return false;
    stirred_ = true;
    const int flags = ZMQ_DONTWAIT | (samples ? ZMQ_SNDMORE : 0);
    return zmq_send(socket_, header_.data(), header_.size(), flags) >= 0;
}

}  // namespace rtsep
