"use strict";
// Replaces the changing part of the page about once a second, while the page is seen and not paused.
const part = document.getElementById("overview");
const pause = document.getElementById("pause");
const voice = document.createElement("p"); // only the verdict is read aloud, and only when it changes
voice.setAttribute("role", "status");
voice.className = "unseen";
document.body.append(voice);
let paused = false;
let said = document.getElementById("verdict").textContent;

function lost() {
  const verdict = part.querySelector(".verdict");
  verdict.className = "verdict ill";
  verdict.textContent = "Look here: the console does not answer; what follows is old";
}

async function refresh() {
  if (!paused && !document.hidden) {
    try {
      const answer = await fetch("/overview.html", { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(String(answer.status));
      const text = await answer.text();
      if (!paused) part.innerHTML = text;
      const verdict = document.getElementById("verdict").textContent;
      if (verdict !== said) voice.textContent = said = verdict;
    } catch {
      lost();
    }
  }
  setTimeout(refresh, 1000);
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Paused" : "Pause";
});
setTimeout(refresh, 1000);
