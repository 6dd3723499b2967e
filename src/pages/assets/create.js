// Adds up the length while somebody types. Everything else of the form works without scripts.
const form = document.getElementById("plan");
const output = document.getElementById("length");
const errors = document.getElementById("errors");

function sum() {
  let seconds = 0;
  for (const field of form.querySelectorAll("input[name=duration_s]")) {
    seconds += Number(field.value) || 0;
  }
  const minutes = Math.floor(seconds / 60);
  const rest = Math.round((seconds - minutes * 60) * 10) / 10;
  output.textContent = minutes ? `${minutes} min ${rest} s at least` : `${rest} s at least`;
}

form.addEventListener("input", sum);
// A second press must not begin a second job; the key in the form would catch it as well.
form.addEventListener("submit", (event) => {
  if (form.dataset.sent) event.preventDefault();
  if (event.submitter?.value === "render") form.dataset.sent = "yes";
});
addEventListener("pageshow", () => delete form.dataset.sent);
errors?.focus();
sum();
