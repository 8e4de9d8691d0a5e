// How far a result departs from what its source shows, and how to hold it back.
//
// The result is made small again and compared with the source, both slightly blurred: noise and compression, which a restoration should take away,
// hardly count, and detail that the source cannot tell does not count at all; a changed shape, colour or letter does.
#pragma once

#include "resflow/core/json.h"
#include "resflow/core/tensor.h"

namespace resflow::restore {

struct Faithfulness {
  Tensor map;          // [h, w], the change at each place, 0..1: of three channels the largest. At most 1024 px a side
  double mean = 0;     // of the map
  double largest = 0;  // of the map
  double changed = 0;  // share of the map above kVisibleChange, 0..1
  // 100 = nothing changed; 0 = the mean change is kVisibleChange or more.
  double score() const;
  // Where the largest change is, as shares of width and height.
  double x = 0, y = 0;
};

inline constexpr double kVisibleChange = 16.0 / 255;

// source [3, h, w], result [3, H, W], float, 0..1. Memory: a few small pictures, whatever their sizes.
Faithfulness faithfulness(const Tensor& source, const Tensor& result);

// Draws the result, in place, back to the source where it departs by more than `most` (0..1), by what it is too much, smoothly. -> what is left
// by the same measure: at most 1.1 `most`, but for places where a channel ends at 0 or 1.
Faithfulness hold_back(const Tensor& source, Tensor& result, double most);

// The result in grey under its changes: blue from kVisibleChange / 4, yellow at kVisibleChange, red from twice that. -> [3, H', W'], at most
// 1024 px a side
Tensor heat_map(const Faithfulness& found, const Tensor& result);

// {"score", "mean", "largest", "changed", "at": [x, y]}
Json to_json(const Faithfulness& found);

}  // namespace resflow::restore
