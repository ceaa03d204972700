#include "plugin.hpp"

#include "editor.hpp"

namespace rtsep {
namespace {

using Parameters = juce::AudioProcessorValueTreeState;
constexpr int kMaxAddress = 1024;
constexpr const char* kStateTag = "rtsep";

juce::String gain_text(float value, int) {
    return value <= kSilentDb ? juce::String("off") : juce::String(value, 1);
}

Parameters::ParameterLayout layout() {
    Parameters::ParameterLayout all;
    // Another preset is another engine and another latency: nothing to automate.
    all.add(std::make_unique<juce::AudioParameterChoice>(
        juce::ParameterID{"preset", 1}, "Preset", kPresets, kPresets.indexOf("live"),
        juce::AudioParameterChoiceAttributes().withAutomatable(false)));
    for (int bus = 0; bus < kBuses; ++bus) {
        const juce::String id = kBusIds[bus], title = kBusTitles[bus];
        all.add(std::make_unique<juce::AudioParameterFloat>(
            juce::ParameterID{id + "_gain", 1}, title + " gain",
            juce::NormalisableRange<float>(kSilentDb, 24.0f, 0.1f), 0.0f,
            juce::AudioParameterFloatAttributes().withLabel("dB").withStringFromValueFunction(gain_text)));
        all.add(std::make_unique<juce::AudioParameterBool>(juce::ParameterID{id + "_mute", 1},
                                                           title + " mute", false));
    }
    return all;
}

}  // namespace

juce::AudioProcessor::BusesProperties Plugin::buses() {
    const auto stereo = juce::AudioChannelSet::stereo();
    auto properties = BusesProperties().withInput("Mix", stereo, true).withOutput("Main", stereo, true);
    for (const char* title : kBusTitles) properties.addBus(false, title, stereo, true);
    return properties;
}

Plugin::Plugin()
    : AudioProcessor(buses()), parameters_(*this, nullptr, kStateTag, layout()),
      link_([this] { triggerAsyncUpdate(); }) {
    preset_ = parameters_.getRawParameterValue("preset");
    for (size_t bus = 0; bus < kBuses; ++bus) {
        const juce::String id = kBusIds[bus];
        gain_db_[bus] = parameters_.getRawParameterValue(id + "_gain");
        mute_[bus] = parameters_.getRawParameterValue(id + "_mute");
    }
    parameters_.addParameterListener("preset", this);
    want();
}

Plugin::~Plugin() {
    parameters_.removeParameterListener("preset", this);
    link_.release();
    cancelPendingUpdate();
}

bool Plugin::isBusesLayoutSupported(const BusesLayout& wanted) const {
    const auto stereo = juce::AudioChannelSet::stereo();
    if (wanted.getMainInputChannelSet() != stereo || wanted.getMainOutputChannelSet() != stereo) {
        return false;
    }
    for (const auto& bus : wanted.outputBuses) {
        if (!bus.isDisabled() && bus != stereo) return false;
    }
    return true;
}

void Plugin::prepareToPlay(double sample_rate, int max_block) {
    want();
    link_.prepare(juce::roundToInt(sample_rate), max_block);
    setLatencySamples(static_cast<int>(link_.latency()));
}

void Plugin::releaseResources() { link_.release(); }

void Plugin::reset() { link_.silence_notes(); }

void Plugin::processBlock(juce::AudioBuffer<float>& buffer, juce::MidiBuffer& midi) {
    run(buffer, midi, false);
}

void Plugin::processBlockBypassed(juce::AudioBuffer<float>& buffer, juce::MidiBuffer& midi) {
    run(buffer, midi, true);
}

void Plugin::run(juce::AudioBuffer<float>& buffer, juce::MidiBuffer& midi, bool bypassed) {
    midi.clear();
    const int frames = buffer.getNumSamples();
    if (!link_.prepared() || buffer.getNumChannels() < 2) return buffer.clear();
    Settings settings;
    settings.offline = isNonRealtime();
    settings.bypassed = bypassed;
    for (size_t bus = 0; bus < kBuses; ++bus) {
        const float db = gain_db_[bus]->load(std::memory_order_relaxed);
        const bool silent = mute_[bus]->load(std::memory_order_relaxed) > 0.5f || db <= kSilentDb;
        settings.gain[bus] = silent ? 0.0f : db == 0.0f ? 1.0f : std::pow(10.0f, db / 20.0f);
    }
    PlayHead head;
    if (auto* const host = getPlayHead()) {
        if (const auto position = host->getPosition()) {
            if (const auto sample = position->getTimeInSamples()) {
                head.known = true;
                head.position = *sample;
                head.playing = position->getIsPlaying();
            }
        }
    }
    Outputs out;
    for (int side = 0; side < 2; ++side) {
        out.main[static_cast<size_t>(side)] = buffer.getWritePointer(side);
        for (int bus = 0; bus < kBuses; ++bus) {
            if (getChannelCountOfBus(false, bus + 1) < 2) continue;
            const int channel = getChannelIndexInProcessBlockBuffer(false, bus + 1, side);
            if (channel >= buffer.getNumChannels()) continue;
            out.stems[static_cast<size_t>(2 * bus + side)] = buffer.getWritePointer(channel);
        }
    }
    link_.process(buffer.getReadPointer(0), buffer.getReadPointer(1), frames, out, head, settings, *midi_);
    for (int n = 0; n < midi_->count; ++n) {
        const MidiEvent& event = midi_->events[static_cast<size_t>(n)];
        midi.addEvent(event.bytes, 3, event.frame);
    }
}

// On the message thread: hosts take another latency from nowhere else.
void Plugin::handleAsyncUpdate() {
    const Status status = link_.status();
    if (status.state == State::playing) known_latency_ = status.engine_latency;
    const int latency = static_cast<int>(link_.latency());
    if (link_.prepared() && latency != getLatencySamples()) setLatencySamples(latency);
}

void Plugin::parameterChanged(const juce::String&, float) { want(); }

void Plugin::want() {
    Wanted wanted;
    const int number = juce::jlimit(0, kPresets.size() - 1, juce::roundToInt(preset_->load()));
    wanted.preset = kPresets[number].toStdString();
    wanted.engine_latency = known_latency_;
    const Status status = link_.status();
    if (status.state == State::playing) wanted.engine_latency = status.engine_latency;
    wanted.address = address().toStdString();
    link_.want(wanted);
}

void Plugin::set_address(const juce::String& address) {
    {
        const juce::ScopedLock lock(address_lock_);
        address_ = address.trim().substring(0, kMaxAddress);
    }
    want();
}

juce::String Plugin::address() {
    const juce::ScopedLock lock(address_lock_);
    return address_;
}

void Plugin::getStateInformation(juce::MemoryBlock& block) {
    auto state = parameters_.copyState();
    const Status status = link_.status();
    if (status.state == State::playing) known_latency_ = status.engine_latency;
    state.setProperty("address", address(), nullptr);
    state.setProperty("engine_latency", juce::String(known_latency_.load()), nullptr);
    if (const auto xml = state.createXml()) copyXmlToBinary(*xml, block);
}

// From a session, and so from anybody: what makes no sense there changes nothing.
void Plugin::setStateInformation(const void* data, int size) {
    const auto xml = size > 0 ? getXmlFromBinary(data, size) : nullptr;
    if (xml == nullptr || !xml->hasTagName(kStateTag)) return;
    auto state = juce::ValueTree::fromXml(*xml);
    if (!state.isValid()) return;
    const juce::int64 latency = state.getProperty("engine_latency").toString().getLargeIntValue();
    if (latency >= 0 && latency <= kMaxEngineLatency) known_latency_ = latency;
    {
        const juce::ScopedLock lock(address_lock_);
        address_ = state.getProperty("address").toString().trim().substring(0, kMaxAddress);
    }
    for (auto child : state) {
        const double value = child.getProperty("value", 0.0);
        if (!std::isfinite(value)) return want();
    }
    state.removeProperty("address", nullptr);
    state.removeProperty("engine_latency", nullptr);
    parameters_.replaceState(state);
    want();
}

juce::AudioProcessorEditor* Plugin::createEditor() { return new Editor(*this); }

}  // namespace rtsep

juce::AudioProcessor* JUCE_CALLTYPE createPluginFilter() { return new rtsep::Plugin(); }
