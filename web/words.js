// Numbers as people read them.
export function bytes(count) {
  if (count < 1000) return `${count} B`;
  const units = ["kB", "MB", "GB"];
  let value = count / 1000, unit = 0;
  while (value >= 1000 && unit < 2) value /= 1000, unit += 1;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function seconds(value) {
  if (value < 1) return "less than 1 s";
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  return `${(value / 3600).toFixed(1)} h`;
}

// 14:05, or the day where it was another one.
export function clock(iso) {
  const time = new Date(iso);
  return time.toDateString() === new Date().toDateString()
    ? time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : time.toLocaleDateString([], { day: "numeric", month: "short" });
}

export const size = (picture) => `${picture.width} × ${picture.height}`;

// A reward that could not judge the picture gives none.
export function score(value) {
  if (typeof value !== "number") return "–";
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 1 : size >= 1 ? 2 : 4);
}

export const extension = (name) => (/\.([a-z0-9]{2,5})$/i.exec(name)?.[1] ?? "").toLowerCase();

// What to call a state in the list.
export const STATES = {
  ready: "Ready", uploading: "Sending …", waiting: "Waiting for room on the server", queued: "Queued", running: "Working",
  done: "Done", failed: "Failed", cancelled: "Cancelled", refused: "Refused",
};

export function progressText(progress) {
  if (!progress) return "";
  const parts = [progress.of > 0 ? `${progress.stage} ${progress.done}/${progress.of}` : progress.stage];
  if (progress.seconds_left > 0) parts.push(`${seconds(progress.seconds_left)} left`);
  return parts.join(" · ");
}
