// A reader of files as a function of bytes, for libFuzzer (LLVMFuzzerTestOneInput) and for driver.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace resflow::fuzz {

// What became of the last input: "" where it was read, else what the reader complained of.
extern std::string complaint;

// Runs `read`; a UserError is what a bad file should give. Anything else that is thrown ends the program, as a crash does.
int run(const std::function<void()>& read);

// A file of these bytes, without a name on any disk: the same path each time, overwritten by the next call.
std::filesystem::path file_of(const uint8_t* data, size_t size);

// Opens the file as every command does, looks at all that it says of its tensors, and reads those that are small.
void read_tensors(const std::filesystem::path& path);

}  // namespace resflow::fuzz
