// What of an ONNX file is looked at before an engine reads it.
#pragma once

#include <string>
#include <string_view>

namespace tinysight {

/// @param data   contents of an ONNX file
/// @param where  its path, for messages
/// @throws BundleError  a tensor has its values in another file, or the file is damaged
void refuse_external_data(std::string_view data, const std::string& where);

}  // namespace tinysight
