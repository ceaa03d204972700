// All of the plugin but its framework: two threads' halves and what they share.
#pragma once

#include <functional>
#include <memory>

#include "exchange.hpp"
#include "network.hpp"
#include "player.hpp"

namespace rtsep {

class Link {
public:
    // `changed` is called, by any thread but the audio thread, when what `latency` or
    // `status` give may be another.
    explicit Link(std::function<void()> changed = {});
    ~Link();

    // Get ready, and wait a moment for an engine, so that the latency is the right one: an
    // instant where nobody answers, longer where an engine is getting ready.
    void prepare(int sample_rate, int max_block);
    void release();
    bool prepared() const { return prepared_; }

    // The audio thread's; `prepare` first.
    void process(const float* left, const float* right, int frames, const Outputs& out,
                 const PlayHead& head, const Settings& settings, MidiBlock& midi);
    void silence_notes() { player_.silence_notes(); }

    // From a sample's arrival until it goes out, on every bus.
    int64_t latency() const { return exchange_->latency.load(std::memory_order_acquire); }
    void want(const Wanted& wanted) { network_.want(wanted); }
    Wanted wanted() { return network_.wanted(); }
    Status status() { return network_.status(); }

    const Counters& counters() const { return exchange_->counters; }
    Exchange& exchange() { return *exchange_; }
    Network& network() { return network_; }

private:
    std::unique_ptr<Exchange> exchange_;
    Player player_;
    Network network_;
    bool prepared_ = false;
};

}  // namespace rtsep
