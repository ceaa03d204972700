# Takes from the pages that JUCE writes about the LV2 what lv2_validate finds wrong there.

# A property of ports is none of parameters'; the values of choices are the parameter's own.
/^\tlv2:portProperty lv2:enumeration/d
/^plug:preset$/,/\] \.$/ {
	s/rdf:value 1 /rdf:value 2 /
	s/rdf:value 0\.5 /rdf:value 1 /
}
/foaf:homepage <>/d
/foaf:mbox <>/d
s/^\ta lv2:Plugin ;$/\ta lv2:Plugin, doap:Project ;/
/lv2:extensionData/,/;$/ {
	/ui:noUserResize/d
}
/lv2:optionalFeature/,/;$/ {
	/opts:interface/d
}
