// How a job stands, in words.
import { capital } from "./common.js";

const isUnderWay = (job) => ["waiting", "painting", "stopping"].includes(job.status); // or was, when the program ended
export const isActive = (job) => Boolean(job) && !job.is_lost && isUnderWay(job);
export const word = (job) => (job.is_lost && isUnderWay(job) ? "cut short" : job.status);

export function describe(job) {
  if (job.is_lost && isUnderWay(job)) return ["It was being painted", "when the program ended; paint it again."];
  const progress = job.progress;
  switch (job.status) {
    case "waiting":
      return job.position > 1 ? [`Number ${job.position} in the queue`, "It starts by itself."] : ["Next in the queue", "It starts by itself."];
    case "painting":
    case "stopping": {
      const word = job.status === "stopping" ? "Stopping" : "Painting";
      if (!progress) return [`${word} …`, job.is_instant ? "In one pass" : "Reading the pictures"];
      const left = progress.seconds_left === null ? "" : `, ${duration(progress.seconds_left)} left`;
      return [`${word}, ${Math.floor(progress.fraction * 100)} %`, `${progress.width}×${progress.height}, level ${progress.level} of ${progress.levels}${left}`];
    }
    case "complete": {
      if (!progress) return ["Kept", `${job.settings.size} pixels, in one pass`];
      return ["Finished", `${progress.width}×${progress.height} pixels, ${job.is_instant ? "in one pass" : `${progress.steps} steps`}`];
    }
    case "stopped":
      return job.picture ? ["Stopped", `after ${progress ? progress.step : 0} steps; what there is, is kept.`] : ["Stopped", "before it began."];
    default:
      return ["It did not work", capital(job.message)];
  }
}

export function numbers(job) {
  const { step, steps, loss, steps_per_second: speed } = job.progress || {};
  if (!steps || job.is_instant) return "";
  const parts = [`step ${step} of ${steps}`];
  if (loss !== null) parts.push(`loss ${loss}`);
  if (speed) parts.push(`${speed} steps a second`);
  return parts.join(", ");
}

export function duration(seconds) {
  if (seconds < 1.5) return "a moment";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.round(seconds / 60)} min`;
}
