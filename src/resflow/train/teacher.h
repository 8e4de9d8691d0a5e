// A teacher at hand: what a Real-ESRGAN network makes of each batch's low-quality pictures, as it is drawn. A student learns a network's pictures
// with far less noise than what it can only guess, for they follow from what it sees.
#pragma once

#include <memory>
#include <string>

#include "resflow/models/remover_network.h"
#include "resflow/train/dataset.h"

namespace resflow::train {

class Teacher {
 public:
  // Throws UserError: absent, or none of Real-ESRGAN's networks.
  Teacher(const std::string& path, c10::Device device, c10::ScalarType dtype);

  int64_t scale() const { return network_->scale(); }
  // The batch, on the teacher's device, with what the teacher makes of `small` in `taught`.
  Batch teach(Batch batch) const;

 private:
  std::unique_ptr<models::RemoverNetwork> network_;
};

}  // namespace resflow::train
