#include "resflow/restore/journal.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <chrono>

#include "resflow/core/error.h"

namespace resflow::restore {
namespace {

namespace fs = std::filesystem;

constexpr int kVersion = 1;
constexpr int64_t kFileClockTick = 20'000'000;            // file systems' clocks lag behind by a few milliseconds
constexpr int kSqliteBusy = 5, kSqliteNotADatabase = 26;  // sqlite3.h

// One row a result. `entry` is what the command prints of it; times are nanoseconds of the file clock.
constexpr const char* kTables = R"(
CREATE TABLE settings(id INTEGER PRIMARY KEY, json TEXT NOT NULL UNIQUE);
CREATE TABLE results(
  output TEXT PRIMARY KEY,
  input TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  modified INTEGER NOT NULL,
  settings INTEGER NOT NULL REFERENCES settings(id),
  state TEXT NOT NULL CHECK(state IN ('started', 'writing', 'done', 'failed')),
  attempts INTEGER NOT NULL,
  started INTEGER NOT NULL,
  entry TEXT NOT NULL);
)";

int64_t nanoseconds(fs::file_time_type time) { return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count(); }

// The input as it is now; 0 where it is not there.
std::pair<int64_t, int64_t> bytes_and_time(const fs::path& path) {
  std::error_code missing;
  const auto bytes = fs::file_size(path, missing);
  if (missing) return {0, 0};
  const auto time = fs::last_write_time(path, missing);
  return {static_cast<int64_t>(bytes), missing ? 0 : nanoseconds(time)};
}

// Runs an action on the journal; what SQLite cannot do (a full disk, say) is told as the user's.
template <class Action>
auto guarded(const fs::path& file, Action&& action) {
  try {
    return action();
  } catch (const SQLite::Exception& error) {
    const auto refuse = [&](const std::string& problem, const std::string& hint) {
      throw_user_error({.where = file.string(), .problem = problem, .hint = hint});
    };
    if (error.getErrorCode() == kSqliteBusy) refuse("another run works on this folder", "Wait for it, or choose another --output");
    if (error.getErrorCode() == kSqliteNotADatabase) refuse("not a journal of resflow, or damaged", "Remove the file to begin again");
    refuse(std::string("the journal cannot be kept: ") + error.what(), "Check free space and rights, or add --no-journal");
    throw;
  }
}

std::string text(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

struct Journal::Store {
  fs::path file, root;
  SQLite::Database database;
  int64_t settings = 0;

  // Names inside are relative to the results' folder, which may then be moved as a whole.
  std::string key(const BatchItem& item) const { return fs::absolute(item.output).lexically_normal().lexically_relative(root).string(); }
  std::optional<Json> done(const BatchItem& item);
  static std::string source(const BatchItem& item) { return fs::absolute(item.input).lexically_normal().string(); }

  void set_state(const BatchItem& item, const std::string& state, const Json& entry) {
    SQLite::Statement update(database, "UPDATE results SET state = ?, entry = ? WHERE output = ?");
    update.bind(1, state);
    update.bind(2, text(entry));
    update.bind(3, key(item));
    update.exec();
  }
};

fs::path journal_path(const fs::path& output) { return output / ".resflow-journal.sqlite"; }

Journal::Journal(const fs::path& file, const Json& settings) {
  guarded(file, [&] {
    store_ = std::make_unique<Store>(Store{.file = file,
                                           .root = fs::absolute(file).lexically_normal().parent_path(),
                                           .database = SQLite::Database(file.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, 500)});
    auto& database = store_->database;
    // The lock is held until it is closed, or the process is gone.
    database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; BEGIN EXCLUSIVE");
    const int version = database.execAndGet("PRAGMA user_version").getInt();
    if (version > kVersion)
      throw_user_error({.where = file.string(),
                        .problem = "the journal is of a newer resflow",
                        .wanted = "version " + std::to_string(kVersion),
                        .got = std::to_string(version),
                        .hint = "Use that one, or remove the file to begin again"});
    if (version == 0) database.exec(std::string(kTables) + "PRAGMA user_version = " + std::to_string(kVersion));
    SQLite::Statement insert(database, "INSERT OR IGNORE INTO settings(json) VALUES (?)");
    insert.bind(1, text(settings));
    insert.exec();
    SQLite::Statement select(database, "SELECT id FROM settings WHERE json = ?");
    select.bind(1, text(settings));
    select.executeStep();
    store_->settings = select.getColumn(0).getInt64();
    select.reset();
    database.exec("COMMIT");
  });
}

Journal::~Journal() = default;

std::optional<Json> Journal::done(const BatchItem& item) {
  return guarded(store_->file, [&] { return store_->done(item); });
}

std::optional<Json> Journal::Store::done(const BatchItem& item) {
  SQLite::Statement select(database, "SELECT input, bytes, modified, settings, state, started, entry FROM results WHERE output = ?");
  select.bind(1, key(item));
  if (!select.executeStep()) return std::nullopt;
  const auto [bytes, modified] = bytes_and_time(item.input);
  const bool same = select.getColumn(0).getString() == source(item) && select.getColumn(1).getInt64() == bytes &&
                    select.getColumn(2).getInt64() == modified && select.getColumn(3).getInt64() == settings;
  std::error_code missing;
  const auto written = fs::last_write_time(item.output, missing);
  if (!same || missing) return std::nullopt;
  const std::string state = select.getColumn(4).getString();
  const int64_t started = select.getColumn(5).getInt64();
  Json entry = Json::parse(select.getColumn(6).getString(), nullptr, /*allow_exceptions=*/false);
  if (entry.is_discarded()) return std::nullopt;
  select.reset();
  // Files come to their place whole: one that is newer than the start is the result, though nobody was left to note it.
  if (state == "writing" && nanoseconds(written) + kFileClockTick >= started) {
    set_state(item, "done", entry);
    return entry;
  }
  return state == "done" ? std::optional(entry) : std::nullopt;
}

void Journal::started(const BatchItem& item) {
  const auto [bytes, modified] = bytes_and_time(item.input);
  guarded(store_->file, [&] {
    SQLite::Statement upsert(
        store_->database,
        "INSERT INTO results VALUES (?, ?, ?, ?, ?, 'started', 1, ?, '{}') ON CONFLICT(output) DO UPDATE SET input = excluded.input, "
        "bytes = excluded.bytes, modified = excluded.modified, settings = excluded.settings, state = 'started', "
        "attempts = attempts + 1, started = excluded.started, entry = '{}'");
    upsert.bind(1, store_->key(item));
    upsert.bind(2, Store::source(item));
    upsert.bind(3, bytes);
    upsert.bind(4, modified);
    upsert.bind(5, store_->settings);
    upsert.bind(6, nanoseconds(fs::file_time_type::clock::now()));
    upsert.exec();
  });
}

void Journal::writing(const BatchItem& item, const Json& entry) {
  guarded(store_->file, [&] { store_->set_state(item, "writing", entry); });
}
void Journal::finished(const BatchItem& item, const Json& entry) {
  guarded(store_->file, [&] { store_->set_state(item, entry.contains("error") ? "failed" : "done", entry); });
}

}  // namespace resflow::restore
