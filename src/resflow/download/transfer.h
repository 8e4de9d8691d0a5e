// One file from an address: resumed, checked, whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "resflow/core/progress.h"

namespace resflow::download {

// What is fetched. At least one of the checksums is known.
struct RemoteFile {
  std::string url;
  int64_t size = -1;     // bytes; -1: not known
  std::string sha256;    // 64 hexadecimal digits, or ""
  std::string git_blob;  // Git's name of the content, or ""
  std::string token;     // sent as a bearer's to the address's own host, over https or to this machine only; "" = none
  std::string name;      // in messages and progress; "" = the address
};

struct TransferOptions {
  int retries = 5;                   // after a connection that broke or a server that is busy, in a row without a byte gained
  double first_pause = 1;            // seconds before the first; doubled for each
  std::string hint_where_forbidden;  // said after 401 and 403
};

enum class Fetched { now, there_before };

// target appears when it is whole and its size and checksum are right. Until then the bytes are in "TARGET.part" beside it, and the next call goes on
// after them. What is there already and right is left alone. Reports stage "NAME, MB". Throws UserError: no connection, a status other than 200 (what
// it means is said), another size or checksum (what was fetched is thrown away), no room on the disk, another process at the same file;
// Cancelled: what was fetched stays.
Fetched fetch(const RemoteFile& file, const std::filesystem::path& target, const TransferOptions& options, const Job& job = {});

// The body of a small reply, at most 16 MB. Throws as fetch() does.
std::string fetch_text(const std::string& url, const std::string& token, const TransferOptions& options);

}  // namespace resflow::download
