// What JUCE is told about the plugin; included before every file that sees JUCE.
#pragma once

#define JUCE_GLOBAL_MODULE_SETTINGS_INCLUDED 1
#define JUCE_MODULE_AVAILABLE_juce_core 1
#define JUCE_MODULE_AVAILABLE_juce_events 1
#define JUCE_MODULE_AVAILABLE_juce_data_structures 1
#define JUCE_MODULE_AVAILABLE_juce_audio_basics 1
#define JUCE_MODULE_AVAILABLE_juce_audio_processors 1
#define JUCE_MODULE_AVAILABLE_juce_audio_plugin_client 1
#define JUCE_MODULE_AVAILABLE_juce_graphics 1
#define JUCE_MODULE_AVAILABLE_juce_gui_basics 1

#define JUCE_STANDALONE_APPLICATION 0
#define JUCE_USE_CURL 0
#define JUCE_WEB_BROWSER 0
#define JUCE_PLUGINHOST_VST3 0
#define JUCE_PLUGINHOST_LV2 0
#define JUCE_PLUGINHOST_LADSPA 0
#define JUCE_VST3_CAN_REPLACE_VST2 0
#define JUCE_REPORT_APP_USAGE 0
#define JUCE_DISPLAY_SPLASH_SCREEN 0  // the GPLv3, under which this is, allows it
#define JUCE_STRICT_REFCOUNTEDPOINTER 1

#define JucePlugin_Build_VST3 1
#define JucePlugin_Build_LV2 1
#define JucePlugin_Build_VST 0
#define JucePlugin_Build_AU 0
#define JucePlugin_Build_AUv3 0
#define JucePlugin_Build_AAX 0
#define JucePlugin_Build_RTAS 0
#define JucePlugin_Build_Standalone 0
#define JucePlugin_Build_Unity 0
#define JucePlugin_Enable_ARA 0

#define JucePlugin_Name "rtsep"
#define JucePlugin_Desc "Live stems and notes of a mix, from an engine over the bridge"
#define JucePlugin_Manufacturer "rtsep"
#define JucePlugin_ManufacturerWebsite ""
#define JucePlugin_ManufacturerEmail ""
#define JucePlugin_ManufacturerCode 0x52747370  // Rtsp
#define JucePlugin_PluginCode 0x52747342        // RtsB
#define JucePlugin_Version 0.1.0
#define JucePlugin_VersionCode 0x100
#define JucePlugin_VersionString "0.1.0"
#define JucePlugin_LV2URI "urn:rtsep:bridge"
#define JucePlugin_Vst3Category "Fx|Tools"
#define JucePlugin_VSTNumMidiInputs 16
#define JucePlugin_VSTNumMidiOutputs 16
#define JucePlugin_IsSynth 0
#define JucePlugin_IsMidiEffect 0
#define JucePlugin_WantsMidiInput 0
#define JucePlugin_ProducesMidiOutput 1
#define JucePlugin_EditorRequiresKeyboardFocus 0
