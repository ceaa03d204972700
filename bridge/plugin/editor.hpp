// The plugin's window: where the bridge is, which preset, and how it goes.
#pragma once

#include <juce_gui_basics/juce_gui_basics.h>

#include "plugin.hpp"

namespace rtsep {

class Editor : public juce::AudioProcessorEditor, private juce::Timer {
public:
    explicit Editor(Plugin& plugin);

    void paint(juce::Graphics& g) override;
    void resized() override;

private:
    void timerCallback() override;
    void take_address();

    Plugin& plugin_;
    juce::Label address_title_{{}, "Bridge"}, preset_title_{{}, "Preset"}, status_, figures_;
    juce::TextEditor address_;
    juce::ComboBox preset_;
    std::unique_ptr<juce::AudioProcessorValueTreeState::ComboBoxAttachment> preset_link_;
};

}  // namespace rtsep
