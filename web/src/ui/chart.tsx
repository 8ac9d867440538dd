// Lines over time, drawn by uPlot.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clockAt, rate, spanOf } from "../format";
import { theme } from "../theme";

const HEIGHT = 180;
const SPAN = 120; // seconds shown at least
const STEPS = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600]; // seconds between two times at the axis

export interface Line { label: string; values: (number | null)[] }

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** The colours of the lines, one after the other; the first is that of a line that is alone. */
export const LINE_COLOURS = ["--accent", "--relayed", "--quic", "--bad", "--good", "--off"];

/** @point: told which moment is pointed at; null: none. */
function options(width: number, lines: number, show: (value: number) => string, least: number, point: (index: number | null) => void): uPlot.Options {
  const grid = { stroke: colour("--line"), width: 1 };
  return {
    width, height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
    hooks: { setCursor: [(u) => point(u.cursor.idx ?? null)] },
    padding: [8, null, 0, 0],
    scales: { x: { range: (_u, min, max) => [Math.min(min, max - SPAN), max] }, y: { range: (_u, _min, max) => [0, Math.max(max * 1.1, least)] } },
    axes: [
      { stroke: colour("--dim"), grid, ticks: { show: false }, size: 26, gap: 8, space: 74, incrs: STEPS, values: (_u, values) => values.map(clockAt) },
      { stroke: colour("--dim"), grid, ticks: { show: false }, size: 80, gap: 8, values: (_u, values) => values.map((value) => show(value).replace(/\.0(?=\D)/, "")) },
    ],
    series: [{}, ...Array.from({ length: lines }, (_, i) => ({
      stroke: colour(LINE_COLOURS[i % LINE_COLOURS.length]), width: 2, points: { show: false }, ...(lines === 1 ? { fill: colour("--accent-soft") } : {}),
    }))],
  };
}

/** What the lines are at the moment that is pointed at; else now, and at most. */
function Readout({ times, lines, show, at }: { times: number[]; lines: Line[]; show: (value: number) => string; at: number | null }) {
  const index = at ?? times.length - 1;
  const most = (line: Line) => line.values.reduce<number>((top, value) => Math.max(top, value ?? 0), 0);
  const value = (line: Line) => line.values[index] ?? null;
  return (
    <p class="legend" aria-hidden="true">
      {lines.map((line, i) => (
        <span key={line.label} class={`line-${i % LINE_COLOURS.length}`}>{lines.length > 1 || at !== null ? `${line.label} ` : "now "}<b>{value(line) === null ? "–" : show(value(line)!)}</b>{at === null && `, at most ${show(most(line))}`}</span>
      ))}
      <span class="when">{at === null ? spanOf(times) : `at ${clockAt(times[at])}`}</span>
    </p>
  );
}

/** @times: seconds since 1970. @least: what the scale shows at least. */
export function Lines({ times, lines, label, show, least }: { times: number[]; lines: Line[]; label: string; show: (value: number) => string; least: number }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>();
  const [at, setAt] = useState<number | null>(null);
  const mode = theme.value;
  const names = lines.map((l) => l.label).join("\n");

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    plot.current = new uPlot(options(element.clientWidth || 600, lines.length, show, least, setAt), [[], ...lines.map(() => [])], element);
    const observer = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.current?.destroy();
    };
  }, [mode, names]);
  useEffect(() => {
    plot.current?.setData([times, ...lines.map((l) => l.values)] as uPlot.AlignedData);
  }, [times, lines, mode]);

  const now = lines.map((l) => `${l.label}: ${show(l.values[l.values.length - 1] ?? 0)}, at most ${show(l.values.reduce<number>((most, v) => Math.max(most, v ?? 0), 0))}`).join("; ");
  return (
    <>
      <div ref={box} class="chart" role="img" aria-label={`${label}. Now ${now}`} />
      {times.length > 0 && <Readout times={times} lines={lines} show={show} at={at !== null && at < times.length ? at : null} />}
    </>
  );
}

export function Throughput({ data, label }: { data: [number, number][]; label: string }) {
  return <Lines times={data.map((d) => d[0])} lines={[{ label: "all", values: data.map((d) => d[1]) }]} label={label} show={rate} least={125000} />;
}
