#include "server/job_store.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include "resflow/core/error.h"

namespace resflow::server {
namespace {

constexpr int kVersion = 1;
constexpr int kSqliteBusy = 5, kSqliteNotADatabase = 26;  // sqlite3.h

constexpr const char* kTables = R"(
CREATE TABLE jobs(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL CHECK(state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
  priority INTEGER NOT NULL,
  name TEXT NOT NULL,
  created INTEGER NOT NULL,
  started INTEGER NOT NULL,
  finished INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  searched INTEGER NOT NULL,
  options TEXT NOT NULL,
  source TEXT NOT NULL,
  result TEXT NOT NULL,
  error TEXT NOT NULL,
  manifest TEXT NOT NULL);
CREATE INDEX jobs_in_order ON jobs(state, priority DESC, sequence);
)";
constexpr const char* kColumns =
    "sequence, id, state, priority, name, created, started, finished, attempts, searched, options, source, result, error, manifest";

std::string text(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

JobRecord record(SQLite::Statement& row) {
  const auto number = [&](int column) { return row.getColumn(column).getInt64(); };
  const auto words = [&](int column) { return row.getColumn(column).getString(); };
  const auto json = [&](int column) { return Json::parse(words(column), nullptr, /*allow_exceptions=*/false); };
  return {.id = words(1),
          .state = state_named(words(2)),
          .priority = number(3),
          .sequence = number(0),
          .name = words(4),
          .created = number(5),
          .started = number(6),
          .finished = number(7),
          .attempts = number(8),
          .options = json(10),
          .source = json(11),
          .result = json(12),
          .error = json(13),
          .manifest = json(14),
          .searched = number(9) != 0};
}

}  // namespace

struct JobStore::Database : SQLite::Database {
  using SQLite::Database::Database;

  // A statement with its values in place.
  template <class... Values>
  SQLite::Statement with(const std::string& sql, const Values&... values) {
    SQLite::Statement statement(*this, sql);
    int place = 0;
    (statement.bind(++place, values), ...);
    return statement;
  }
  template <class... Values>
  int change(const std::string& sql, const Values&... values) {
    return with(sql, values...).exec();
  }
};

JobStore::JobStore(const std::filesystem::path& file, int64_t most_attempts) {
  const auto refuse = [&](const std::string& problem, const std::string& hint) {
    throw_user_error({.where = file.string(), .problem = problem, .hint = hint});
  };
  try {
    database_ = std::make_unique<Database>(file.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, 500);
    // The lock is held until it is closed, or the process is gone.
    database_->exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
    SQLite::Transaction transaction(*database_);
    const int version = database_->execAndGet("PRAGMA user_version").getInt();
    if (version > kVersion) refuse("the queue is of a newer resflow", "Use that one, or choose another --data");
    if (version == 0) database_->exec(std::string(kTables) + "PRAGMA user_version = " + std::to_string(kVersion));
    const Json error = {{"code", "crashed"}, {"message", "the server ended each time while it worked on this picture"}, {"hint", ""}};
    database_->change("UPDATE jobs SET state = 'failed', finished = ?, error = ? WHERE state = 'running' AND attempts >= ?", time_now(), text(error),
                      most_attempts);
    database_->exec("UPDATE jobs SET state = 'queued', started = 0 WHERE state = 'running'");
    transaction.commit();
    count();
  } catch (const SQLite::Exception& error) {
    if (error.getErrorCode() == kSqliteBusy) refuse("another server works on this folder", "Stop it, or choose another --data");
    if (error.getErrorCode() == kSqliteNotADatabase) refuse("not a queue of resflow, or damaged", "Remove the file, or choose another --data");
    refuse(std::string("the queue cannot be kept: ") + error.what(), "");
  }
}

JobStore::~JobStore() = default;

void JobStore::count() {
  waiting_ = database_->execAndGet("SELECT COUNT(*) FROM jobs WHERE state = 'queued'").getInt64();
  running_ = database_->execAndGet("SELECT COUNT(*) FROM jobs WHERE state = 'running'").getInt64();
}

bool JobStore::add(std::vector<JobRecord>& jobs, int64_t most) {
  const std::lock_guard lock(mutex_);
  if (waiting_ + static_cast<int64_t>(jobs.size()) > most) return false;
  // What a client is promised is flushed to disk; of the rest a power cut may take the last moments, and a job is done again.
  database_->exec("PRAGMA synchronous = FULL");
  SQLite::Transaction transaction(*database_);
  for (auto& job : jobs) {
    database_->change(
        "INSERT INTO jobs(id, state, priority, name, created, started, finished, attempts, searched, options, source, result, error, manifest) "
        "VALUES (?, 'queued', ?, ?, ?, 0, 0, 0, ?, ?, ?, 'null', 'null', 'null')",
        job.id, job.priority, job.name, job.created, static_cast<int64_t>(job.searched), text(job.options), text(job.source));
    job.sequence = database_->getLastInsertRowid();
  }
  transaction.commit();
  database_->exec("PRAGMA synchronous = NORMAL");
  count();
  return true;
}

std::optional<JobRecord> JobStore::find(const std::string& id) {
  const std::lock_guard lock(mutex_);
  auto row = database_->with(std::string("SELECT ") + kColumns + " FROM jobs WHERE id = ?", id);
  if (!row.executeStep()) return std::nullopt;
  return record(row);
}

std::vector<JobRecord> JobStore::list(const std::string& state, int64_t most) {
  const std::lock_guard lock(mutex_);
  auto row = database_->with(std::string("SELECT ") + kColumns + " FROM jobs WHERE ? IN ('', state) ORDER BY sequence DESC LIMIT ?", state, most);
  std::vector<JobRecord> out;
  while (row.executeStep()) out.push_back(record(row));
  return out;
}

int64_t JobStore::position(const JobRecord& job) {
  const std::lock_guard lock(mutex_);
  auto row = database_->with("SELECT 1 + COUNT(*) FROM jobs WHERE state = 'queued' AND (priority > ?1 OR (priority = ?1 AND sequence < ?2))",
                             job.priority, job.sequence);
  row.executeStep();
  return row.getColumn(0).getInt64();
}

std::optional<JobRecord> JobStore::take_next() {
  const std::lock_guard lock(mutex_);
  SQLite::Transaction transaction(*database_);
  auto row = database_->with(std::string("SELECT ") + kColumns + " FROM jobs WHERE state = 'queued' ORDER BY priority DESC, sequence LIMIT 1");
  if (!row.executeStep()) return std::nullopt;
  JobRecord job = record(row);
  row.reset();
  job.state = State::running;
  job.started = time_now();
  ++job.attempts;
  database_->change("UPDATE jobs SET state = 'running', started = ?, attempts = ? WHERE id = ?", job.started, job.attempts, job.id);
  transaction.commit();
  count();
  return job;
}

bool JobStore::finish(const JobRecord& job) {
  const std::lock_guard lock(mutex_);
  const int changed = database_->change(
      "UPDATE jobs SET state = ?, finished = ?, result = ?, error = ?, manifest = ?, searched = ? WHERE id = ? AND state = 'running'",
      name_of(job.state), job.finished, text(job.result), text(job.error), text(job.manifest), static_cast<int64_t>(job.searched), job.id);
  count();
  return changed > 0;
}

void JobStore::put_back(const std::string& id) {
  const std::lock_guard lock(mutex_);
  database_->change("UPDATE jobs SET state = 'queued', started = 0, attempts = attempts - 1 WHERE id = ? AND state = 'running'", id);
  count();
}

bool JobStore::cancel(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const int changed =
      database_->change("UPDATE jobs SET state = 'cancelled', finished = ? WHERE id = ? AND state IN ('queued', 'running')", time_now(), id);
  count();
  return changed > 0;
}

bool JobStore::replace_result(const std::string& id, const Json& result, const Json& manifest) {
  const std::lock_guard lock(mutex_);
  return database_->change("UPDATE jobs SET result = ?, manifest = ? WHERE id = ? AND state = 'done'", text(result), text(manifest), id) > 0;
}

bool JobStore::remove(const std::string& id) {
  const std::lock_guard lock(mutex_);
  return database_->change("DELETE FROM jobs WHERE id = ? AND state NOT IN ('queued', 'running')", id) > 0;
}

std::vector<std::string> JobStore::expired(Time before, int64_t most) {
  const std::lock_guard lock(mutex_);
  auto row = database_->with(
      "SELECT id FROM jobs WHERE state NOT IN ('queued', 'running') AND (finished < ?1 OR id NOT IN (SELECT id FROM jobs WHERE state NOT IN "
      "('queued', 'running') ORDER BY finished DESC, sequence DESC LIMIT ?2))",
      before, most);
  std::vector<std::string> out;
  while (row.executeStep()) out.push_back(row.getColumn(0).getString());
  return out;
}

std::vector<std::string> JobStore::ids() {
  const std::lock_guard lock(mutex_);
  SQLite::Statement row(*database_, "SELECT id FROM jobs");
  std::vector<std::string> out;
  while (row.executeStep()) out.push_back(row.getColumn(0).getString());
  return out;
}

}  // namespace resflow::server
