// Which process of a run this is, as torchrun tells it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace resflow::train {

struct RankPlace {
  int64_t rank = 0, count = 1;
  int64_t local = 0;    // among the ranks of this machine
  std::string address;  // where they meet; "" for one rank alone
  int64_t port = 0;
  bool hosts = false;  // this rank opens that meeting place; torchrun has one open already
  std::string prefix;  // of the keys that are used there: each restart of an elastic run has its own

  bool first() const { return rank == 0; }
};

// From WORLD_SIZE, RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT, TORCHELASTIC_USE_AGENT_STORE and TORCHELASTIC_RESTART_COUNT, as
// torch.distributed's "env://" reads them. One rank where there is no WORLD_SIZE. Throws UserError where they are not whole.
RankPlace rank_place();

// The GPU of a rank: the one of its own number among the machine's, in turns where there are fewer. None where the device's name has a number
// already ("cuda:1"): that one is meant.
std::optional<int64_t> gpu_of(const std::string& device, int64_t local, int64_t gpus);

}  // namespace resflow::train
