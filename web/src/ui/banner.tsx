// What stands above all pages while the console cannot be heard.
import { useEffect, useRef, useState } from "preact/hooks";
import { reachable } from "../api";
import { clock } from "../format";
import { hurry, stream } from "../stream";
import { toast } from "./toast";

/** Seconds up to @when. Not read aloud: it changes all the time. */
function Countdown({ when }: { when: number }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = window.setInterval(() => tick((n) => n + 1), 500);
    return () => window.clearInterval(timer);
  }, []);
  const seconds = Math.ceil((when - Date.now()) / 1000);
  return <span aria-hidden="true">{seconds > 0 ? `Trying again in ${seconds} s.` : "Trying again…"}</span>;
}

export function Banner() {
  const { state, since, reason, again } = stream.value;
  const lost = state === "lost";
  const was = useRef(false);
  useEffect(() => {
    if (was.current && state === "open") toast("connected to the console again");
    if (state !== "opening") was.current = lost;
  }, [state]);
  if (!lost) return null;
  return (
    <div class="banner">
      <span role="alert">{reachable.value ? `No news from the console: ${reason}. What is shown is asked for every few seconds.` : `The console does not answer. What is shown is of ${clock(new Date(since).toISOString())} and may be old.`}</span>{" "}
      <Countdown when={again} /> <button type="button" onClick={hurry}>Try now</button>
    </div>
  );
}
