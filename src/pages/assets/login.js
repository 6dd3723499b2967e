// The token travels in the fragment, which no server and no log ever sees. Opening the link
// consumes nothing: only the button posts it.
const ask = document.getElementById("ask");
const panel = document.getElementById("confirm");
const button = document.getElementById("confirm-button");
const status = document.getElementById("confirm-status");

function token() {
  const value = new URLSearchParams(location.hash.slice(1)).get("token");
  return value && value.length <= 512 ? value : null;
}

// Only a path of this site: anything else leads to the start.
function destination(next) {
  const url = new URL(typeof next === "string" ? next : "/create", location.origin);
  return url.origin === location.origin ? url.pathname + url.search : "/create";
}

async function signIn(secret) {
  button.disabled = true;
  status.textContent = "Signing in…";
  try {
    const answer = await fetch("/api/auth/magic-link/verify", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token: secret }),
      credentials: "same-origin",
    });
    const body = await answer.json();
    if (answer.ok) {
      location.replace(destination(body.next === "/" ? "/create" : body.next));
      return;
    }
    status.textContent = `${body.title}. ${answer.status === 401 ? "Ask for a new one below." : ""}`;
    ask.hidden = false;
    panel.querySelector(".lead").hidden = true;
    button.hidden = answer.status === 401;
  } catch {
    status.textContent = "The service cannot be reached. Try again.";
  }
  button.disabled = false;
}

function begin() {
  const secret = token();
  if (!secret) return;
  history.replaceState(null, "", location.pathname + location.search);
  panel.hidden = false;
  ask.hidden = true;
  button.onclick = () => signIn(secret);
  button.focus();
}

addEventListener("hashchange", begin);
begin();
