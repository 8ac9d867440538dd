// Lines over time, drawn by uPlot.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { rate } from "../format";
import { theme } from "../theme";

const HEIGHT = 180;
const SPAN = 120; // seconds shown at least

export interface Line { label: string; values: (number | null)[] }

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** The colours of the lines, one after the other; the first is that of a line that is alone. */
export const LINE_COLOURS = ["--accent", "--relayed", "--quic", "--bad", "--good", "--off"];

const clockOf = (seconds: number) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

function options(width: number, lines: number, show: (value: number) => string, least: number): uPlot.Options {
  const grid = { stroke: colour("--line"), width: 1 };
  return {
    width, height: HEIGHT,
    legend: { show: false },
    cursor: { y: false },
    scales: { x: { range: (_u, min, max) => [Math.min(min, max - SPAN), max] }, y: { range: (_u, _min, max) => [0, Math.max(max * 1.1, least)] } },
    axes: [
      { stroke: colour("--dim"), grid, ticks: grid, space: 74, values: (_u, values) => values.map(clockOf) },
      { stroke: colour("--dim"), grid, ticks: grid, size: 84, values: (_u, values) => values.map(show) },
    ],
    series: [{}, ...Array.from({ length: lines }, (_, i) => ({
      stroke: colour(LINE_COLOURS[i % LINE_COLOURS.length]), width: 2, points: { show: false }, ...(lines === 1 ? { fill: colour("--accent-soft") } : {}),
    }))],
  };
}

/** @times: seconds since 1970. @least: what the scale shows at least. */
export function Lines({ times, lines, label, show, least }: { times: number[]; lines: Line[]; label: string; show: (value: number) => string; least: number }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>();
  const mode = theme.value;
  const names = lines.map((l) => l.label).join("\n");

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    plot.current = new uPlot(options(element.clientWidth || 600, lines.length, show, least), [[], ...lines.map(() => [])], element);
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
      {lines.length > 1 && <p class="legend">{lines.map((l, i) => <span key={l.label} class={`line-${i % LINE_COLOURS.length}`}>{l.label}</span>)}</p>}
    </>
  );
}

export function Throughput({ data, label }: { data: [number, number][]; label: string }) {
  return <Lines times={data.map((d) => d[0])} lines={[{ label: "all", values: data.map((d) => d[1]) }]} label={label} show={rate} least={125000} />;
}
