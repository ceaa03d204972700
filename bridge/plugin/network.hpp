// The network thread's side: the mix to an engine, its stems and notes into the rings.
//
// It wakes the engine, not the other way round: nothing in the audio thread can signal it
// without a system call, so it sleeps until the next block should be there.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "address.hpp"
#include "exchange.hpp"
#include "messages.hpp"
#include "sequence.hpp"

namespace rtsep {

enum class State {
    stopped,
    unusable,    // an address, keys or a rate that cannot be used
    connecting,  // nobody has answered yet
    opening,     // an engine is getting ready
    refused,     // by the bridge, which said why
    playing
};

struct Wanted {
    std::string address;  // empty: RTSEP_BRIDGE, or the default
    std::string preset = "live";
    int64_t engine_latency = 256;  // to state as long as no engine has said
};

struct Status {
    State state = State::stopped;
    std::string text;            // for people
    int64_t engine_latency = 0;  // the last that is known
    int step = 0;
    bool answered = false;  // somebody is at the address
};

class Network {
public:
    // `changed` is called by the network thread when latency or state change.
    Network(Exchange& exchange, std::function<void()> changed);
    ~Network();

    // The exchange's rate and block hold from here on.  Not while the other runs.
    void start();
    void stop();

    void want(const Wanted& wanted);  // also while it runs
    Wanted wanted();
    Status status();
    // Until an engine is ready, or there is nothing to wait for any more.
    void wait_ready(double unanswered_s, double answered_s);

    // Round trips in microseconds, while `Exchange::measure` is set; read when stopped.
    static constexpr size_t kLongest = 100000;
    std::vector<uint32_t> round_trips;

private:
    void run();
    void connect();
    void disconnect();
    bool secure();
    void say_hello();
    void open();
    void keep_up(int64_t now);
    void receive();
    void take(const Message& message);
    void take_opened(const Message& message);
    void take_refusal(const Message& message);
    void take_stems(const Message& message);
    void take_notes(const Message& message);
    void map_stems(const std::vector<std::string>& names);
    int bus_of(const std::string& name) const;
    void state_latency(int64_t engine);
    void measure(int64_t end);
    void send_mix();
    void begin_mix(int64_t written, bool offline);
    bool send_block(int frames);
    int block_length(int64_t available);
    bool send(const Message& message, bool samples);
    void leave_stream();
    void say(State state, const std::string& text);
    int64_t pause_ns();
    void sleep();

    Exchange& x_;
    std::function<void()> changed_;
    std::thread thread_;
    std::atomic<bool> stop_{false};
    int wake_ = -1;

    std::mutex mutex_;  // between the network thread and the host's others, never the audio's
    std::condition_variable told_;
    Wanted wanted_;
    Status status_;
    std::atomic<int> wishes_{0};

    // Of the network thread alone from here on.
    void* context_ = nullptr;
    void* socket_ = nullptr;
    int fd_ = -1;  // of the socket; tells of changes only,
    bool stirred_ = false;  // so it is read until empty after whatever has touched the socket
    Wanted now_wanted_;
    int seen_wishes_ = 0;
    Address address_;
    State state_ = State::stopped;
    int64_t entered_ = 0;  // nanoseconds: when this state began, when anybody spoke last
    int64_t heard_ = 0;
    int64_t session_ = 0;
    std::array<int64_t, kKinds> next_number_{};
    Sequence stems_numbers_, notes_numbers_;
    int64_t lost_before_ = 0;
    std::string preset_;
    int64_t engine_latency_ = 0;
    std::vector<std::string> names_;
    std::vector<int> buses_;  // of the names, in their order
    int step_ = 1;
    int64_t opened_at_ = 0;   // end of the mix when this session was opened
    bool begun_ = false;
    int64_t begin_ = 0;       // first sample of this session
    int64_t sent_ = 0;        // next to send
    int64_t sent_end_ = 0;    // end of what was really sent
    int64_t answered_ = 0;    // end of what has come back
    int64_t held_since_ = 0;
    int64_t record_ = 0;      // of the block that is sent next
    int64_t seen_blocks_ = 0;
    int64_t seen_at_ = 0;
    std::string header_;
};

// Samples between a block's arrival and its deadline: time for the way there and back.
int64_t working_time(int block, int sample_rate, bool local);

}  // namespace rtsep
