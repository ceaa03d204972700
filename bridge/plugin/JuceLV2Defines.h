// JUCE's LV2 client asks for this file; the address stands in juce_config.h.
#pragma once
