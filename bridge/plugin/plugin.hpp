// The plugin as a host sees it: buses, parameters, state; the work is Link's.
#pragma once

#include <juce_audio_processors/juce_audio_processors.h>

#include "link.hpp"

namespace rtsep {

constexpr const char* kBusTitles[kBuses] = {"Drums", "Bass", "Guitar", "Piano", "Other", "Extra 1", "Extra 2"};
constexpr const char* kBusIds[kBuses] = {"drums", "bass", "guitar", "piano", "other", "extra1", "extra2"};
inline const juce::StringArray kPresets{"lowest", "live", "relaxed"};

class Plugin : public juce::AudioProcessor,
               private juce::AsyncUpdater,
               private juce::AudioProcessorValueTreeState::Listener {
public:
    Plugin();
    ~Plugin() override;

    const juce::String getName() const override { return "rtsep"; }
    void prepareToPlay(double sample_rate, int max_block) override;
    void releaseResources() override;
    void reset() override;
    void processBlock(juce::AudioBuffer<float>& buffer, juce::MidiBuffer& midi) override;
    void processBlockBypassed(juce::AudioBuffer<float>& buffer, juce::MidiBuffer& midi) override;
    bool isBusesLayoutSupported(const BusesLayout& layout) const override;

    bool acceptsMidi() const override { return false; }
    bool producesMidi() const override { return true; }
    double getTailLengthSeconds() const override { return 0.0; }
    bool hasEditor() const override { return true; }
    juce::AudioProcessorEditor* createEditor() override;

    int getNumPrograms() override { return 1; }
    int getCurrentProgram() override { return 0; }
    void setCurrentProgram(int) override {}
    const juce::String getProgramName(int) override { return "Default"; }
    void changeProgramName(int, const juce::String&) override {}

    void getStateInformation(juce::MemoryBlock& block) override;
    void setStateInformation(const void* data, int size) override;

    void set_address(const juce::String& address);  // empty: the default
    juce::String address();
    Link& link() { return link_; }
    juce::AudioProcessorValueTreeState& parameters() { return parameters_; }

private:
    static BusesProperties buses();
    void run(juce::AudioBuffer<float>& buffer, juce::MidiBuffer& midi, bool bypassed);
    void handleAsyncUpdate() override;
    void parameterChanged(const juce::String& id, float value) override;
    void want();

    juce::AudioProcessorValueTreeState parameters_;
    std::atomic<float>* preset_ = nullptr;
    std::array<std::atomic<float>*, kBuses> gain_db_{}, mute_{};
    juce::CriticalSection address_lock_;  // of the message thread and who saves, never the audio's
    juce::String address_;
    std::atomic<int64_t> known_latency_{256};
    std::unique_ptr<MidiBlock> midi_ = std::make_unique<MidiBlock>();
    Link link_;
};

}  // namespace rtsep
