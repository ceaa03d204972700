// Where a bridge is, and the keys to speak with one beyond this machine.
//
// The same rules as rtsep_bridge.addresses and rtsep_bridge.keys, whose files it reads.
#pragma once

#include <string>

namespace rtsep {

constexpr const char* kDefaultAddress = "tcp://127.0.0.1:7610";

struct Address {
    std::string endpoint;    // of the ROUTER
    std::string server_key;  // in Z85; empty where none is named
    bool local = true;       // nobody beyond this machine can be there
    bool ipv6 = false;
};

// False, and in `problem` what was found and expected, where the text is no address that
// a plugin may use: one beyond this machine needs a key.
bool parse_address(const std::string& text, Address& address, std::string& problem);

struct KeyPair {
    std::string public_key;
    std::string secret_key;
};

// This machine's client keys: RTSEP_BRIDGE_KEYS names another folder for them.
bool load_client_keys(KeyPair& pair, std::string& problem);

// The address that holds where nobody typed one: RTSEP_BRIDGE, or the default.
std::string default_address();

}  // namespace rtsep
