// OminiControl's adapters (Yuanshi9815/OminiControl; 2411.15098): PEFT's files whose adapter acts on the condition's tokens alone. Nothing in a
// file says so but the modules that it adapts: those of OminiControl's configuration, no more and no less.
#pragma once

#include <span>
#include <string_view>

namespace resflow::weights {

// diffusers' names with "#" for a block's number; 3,621,952 parameters of FLUX.1-dev for each unit of rank.
std::span<const std::string_view> omini_modules();

}  // namespace resflow::weights
