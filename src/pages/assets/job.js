// Follows a job by server-sent events; the browser reconnects and resumes by itself.
const job = document.getElementById("job");
const progress = document.getElementById("progress");
const status = document.getElementById("status");
const headline = document.getElementById("headline");
const steps = document.getElementById("steps");
const ended = new Set(["succeeded", "failed", "cancelled"]);

function title(name) {
  const [kind, scene, part] = name.split("-");
  const number = Number(scene);
  if (kind === "image") return `Picture of scene ${number}`;
  if (kind === "speech") return `Narration of scene ${number}`;
  if (kind === "segment") return `Film of scene ${number}, part ${Number(part)}`;
  if (kind === "assemble") return "Putting it together";
  return name;
}

function how(step) {
  const words = { pending: "", running: "working", succeeded: "done", failed: "failed", cancelled: "cancelled" };
  const again = step.attempts > 1 && step.state !== "succeeded" ? `, attempt ${step.attempts}` : "";
  return (words[step.state] ?? step.state) + again;
}

function showStep(step) {
  if (!steps) return;
  let row = [...steps.children].find((item) => item.dataset.step === step.name);
  if (!row) {
    row = document.createElement("li");
    row.dataset.step = step.name;
    for (const name of ["dot", "what", "how"]) {
      const part = document.createElement("span");
      part.className = name;
      row.append(part);
    }
    row.querySelector(".what").textContent = title(step.name);
    const after = [...steps.children].find((item) => order(item.dataset.step) > order(step.name));
    steps.insertBefore(row, after ?? null);
  }
  row.dataset.state = step.state;
  row.querySelector(".how").textContent = how(step);
}

function order(name) {
  const [kind, scene = "0", part = "0"] = name.split("-");
  const rank = ["image", "speech", "segment", "assemble", "publish"].indexOf(kind);
  return rank * 1e6 + Number(scene) * 1e3 + Number(part);
}

function showProgress(document_) {
  const percent = document_.progress_percent;
  if (typeof percent === "number" && progress) progress.value = percent;
  if (document_.state === "running" && headline) headline.textContent = "Rendering your video";
  const step = typeof document_.step === "string" ? document_.step : document_.step?.name;
  if (status && typeof percent === "number") {
    status.textContent = step ? `${percent} %: ${title(step)}` : `${percent} %`;
  }
}

function finish(state) {
  if (ended.has(state) && state !== job.dataset.state) location.reload();
}

const source = new EventSource(`/api/render/${job.dataset.job}/events`);
source.addEventListener("job", (event) => {
  const whole = JSON.parse(event.data);
  showProgress(whole);
  for (const step of whole.steps) showStep(step);
  finish(whole.state);
});
source.addEventListener("step", (event) => {
  const change = JSON.parse(event.data);
  showProgress(change);
  if (change.step && typeof change.step === "object") showStep(change.step);
  finish(change.state);
});
// A stream that is refused for good (signed out, job deleted) is closed by the browser.
source.onerror = () => {
  if (source.readyState === EventSource.CLOSED) location.reload();
};
