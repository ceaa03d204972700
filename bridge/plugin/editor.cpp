#include "editor.hpp"

namespace rtsep {

Editor::Editor(Plugin& plugin) : AudioProcessorEditor(plugin), plugin_(plugin) {
    for (juce::Label* label : {&address_title_, &preset_title_, &status_, &figures_}) {
        addAndMakeVisible(label);
    }
    status_.setMinimumHorizontalScale(0.7f);
    address_.setText(plugin_.address(), false);
    address_.setTextToShowWhenEmpty(default_address(), juce::Colours::grey);
    address_.setInputRestrictions(1024);
    address_.onReturnKey = [this] { take_address(); };
    address_.onFocusLost = [this] { take_address(); };
    addAndMakeVisible(address_);
    preset_.addItemList(kPresets, 1);
    addAndMakeVisible(preset_);
    preset_link_ = std::make_unique<juce::AudioProcessorValueTreeState::ComboBoxAttachment>(
        plugin_.parameters(), "preset", preset_);
    setSize(460, 150);
    timerCallback();
    startTimerHz(4);
}

void Editor::take_address() {
    if (address_.getText().trim() != plugin_.address()) plugin_.set_address(address_.getText());
}

void Editor::timerCallback() {
    const Status status = plugin_.link().status();
    const Counters& counters = plugin_.link().counters();
    const int latency = plugin_.getLatencySamples();
    const double rate = juce::jmax(1.0, plugin_.getSampleRate());
    status_.setText(juce::String::fromUTF8(status.text.c_str()), juce::dontSendNotification);
    figures_.setText("latency " + juce::String(latency) + " samples (" +
                         juce::String(1000.0 * latency / rate, 1) + " ms), " +
                         juce::String(counters.misses.load()) + " misses",
                     juce::dontSendNotification);
    const bool playing = status.state == State::playing;
    status_.setColour(juce::Label::textColourId, playing ? juce::Colours::lightgreen : juce::Colours::orange);
}

void Editor::paint(juce::Graphics& g) { g.fillAll(juce::Colour(0xff202428)); }

void Editor::resized() {
    auto area = getLocalBounds().reduced(10);
    const auto row = [&] { return area.removeFromTop(30).reduced(0, 2); };
    auto first = row();
    address_title_.setBounds(first.removeFromLeft(70));
    address_.setBounds(first);
    auto second = row();
    preset_title_.setBounds(second.removeFromLeft(70));
    preset_.setBounds(second.removeFromLeft(140));
    status_.setBounds(row());
    figures_.setBounds(row());
}

}  // namespace rtsep
