#include "link.hpp"

#include <algorithm>

namespace rtsep {
namespace {

constexpr double kUnansweredS = 0.3;  // a host that loads a session waits so long for nobody
constexpr double kAnsweredS = 5.0;

}  // namespace

Link::Link(std::function<void()> changed)
    : exchange_(std::make_unique<Exchange>()), player_(*exchange_),
      network_(*exchange_, std::move(changed)) {}

Link::~Link() { release(); }

void Link::prepare(int sample_rate, int max_block) {
    network_.stop();
    exchange_->sample_rate = sample_rate;
    exchange_->max_block = std::clamp(max_block, 1, kMaxBlock);
    exchange_->reset();
    network_.start();
    network_.wait_ready(kUnansweredS, kAnsweredS);
    player_.prepare();
    prepared_ = true;
}

void Link::release() {
    network_.stop();
    player_.silence_notes();
}

void Link::process(const float* left, const float* right, int frames, const Outputs& out,
                   const PlayHead& head, const Settings& settings, MidiBlock& midi) {
    player_.process(left, right, frames, out, head, settings, midi);
}

}  // namespace rtsep
