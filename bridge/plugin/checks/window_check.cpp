// Opens the plugin's window as an LV2 host does, on the X display of DISPLAY.
//
//   window_check PLUGIN.so SECONDS
//
// Prints how many colours the window has at the end: one or two where nothing was drawn.
#include <X11/Xlib.h>
#include <X11/Xutil.h>
#include <dlfcn.h>
#include <lv2/atom/atom.h>
#include <lv2/buf-size/buf-size.h>
#include <lv2/core/lv2.h>
#include <lv2/instance-access/instance-access.h>
#include <lv2/options/options.h>
#include <lv2/ui/ui.h>
#include <lv2/urid/urid.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <set>
#include <string>
#include <vector>

static std::vector<std::string> uris;

static LV2_URID map_uri(LV2_URID_Map_Handle, const char* uri) {
    for (size_t i = 0; i < uris.size(); ++i) {
        if (uris[i] == uri) return static_cast<LV2_URID>(i + 1);
    }
    uris.push_back(uri);
    return static_cast<LV2_URID>(uris.size());
}

int main(int argc, char** argv) {
    if (argc < 3) return fprintf(stderr, "window_check PLUGIN.so SECONDS\n"), 2;
    Display* const display = XOpenDisplay(nullptr);
    if (display == nullptr) return fprintf(stderr, "no X display\n"), 2;
    void* const library = dlopen(argv[1], RTLD_NOW);
    if (library == nullptr) return fprintf(stderr, "%s\n", dlerror()), 2;
    const auto* const plugin = reinterpret_cast<LV2_Descriptor_Function>(dlsym(library, "lv2_descriptor"))(0);
    const auto* const ui = reinterpret_cast<LV2UI_DescriptorFunction>(dlsym(library, "lv2ui_descriptor"))(0);

    LV2_URID_Map map{nullptr, map_uri};
    const int32_t longest = 256;
    const LV2_Options_Option options[] = {
        {LV2_OPTIONS_INSTANCE, 0, map_uri(nullptr, LV2_BUF_SIZE__maxBlockLength), sizeof longest,
         map_uri(nullptr, LV2_ATOM__Int), &longest},
        {LV2_OPTIONS_INSTANCE, 0, 0, 0, 0, nullptr}};
    LV2_Feature features[] = {{LV2_URID__map, &map},
                              {LV2_BUF_SIZE__boundedBlockLength, nullptr},
                              {LV2_OPTIONS__options, const_cast<LV2_Options_Option*>(options)},
                              {LV2_INSTANCE_ACCESS_URI, nullptr},
                              {LV2_UI__parent, nullptr}};
    const LV2_Feature* const list[] = {&features[0], &features[1], &features[2], nullptr};
    const LV2_Handle handle = plugin->instantiate(plugin, 48000.0, ".", list);
    const unsigned width = 460, height = 150;
    const Window window = XCreateSimpleWindow(display, DefaultRootWindow(display), 0, 0, width, height, 0, 0, 0);
    XMapWindow(display, window);
    XSync(display, False);
    features[3].data = handle;
    features[4].data = reinterpret_cast<void*>(window);
    const LV2_Feature* const ui_list[] = {&features[0], &features[2], &features[3], &features[4], nullptr};
    LV2UI_Widget widget = nullptr;
    const LV2UI_Handle shown = ui->instantiate(
        ui, plugin->URI, ".", [](LV2UI_Controller, uint32_t, uint32_t, uint32_t, const void*) {}, nullptr, &widget, ui_list);
    if (shown == nullptr) return fprintf(stderr, "no window\n"), 2;
    const auto* const idle = static_cast<const LV2UI_Idle_Interface*>(ui->extension_data(LV2_UI__idleInterface));
    for (int n = 0; n < 50 * atoi(argv[2]); ++n) {
        idle->idle(shown);
        usleep(20000);
    }
    XImage* const image = XGetImage(display, DefaultRootWindow(display), 0, 0, width, height, AllPlanes, ZPixmap);
    std::set<unsigned long> colours;
    for (int y = 0; y < static_cast<int>(height); ++y) {
        for (int x = 0; x < static_cast<int>(width); ++x) colours.insert(XGetPixel(image, x, y));
    }
    XDestroyImage(image);
    ui->cleanup(shown);
    plugin->cleanup(handle);
    XCloseDisplay(display);
    printf("%zu\n", colours.size());
    return 0;
}
