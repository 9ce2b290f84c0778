// A bundle: the folder that determines a prediction. Verified before anything in it is used.
#pragma once

#include <string>

#include "manifest.hpp"

namespace tinysight {

struct Bundle {
    std::string folder;
    Manifest manifest;
    std::string model;  ///< the verified bytes of `model.onnx`

    /// @throws BundleError  no such bundle; a file is missing, truncated or altered; the manifest
    ///                      was edited, is not understood or newer; a file's name leads out of it
    static Bundle load(const std::string& folder);
};

}  // namespace tinysight
