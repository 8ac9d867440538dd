// A line over time, drawn by uPlot.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { rate } from "../format";
import { theme } from "../theme";

const HEIGHT = 180;
const SPAN = 120; // seconds shown at least

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function options(width: number): uPlot.Options {
  const grid = { stroke: colour("--line"), width: 1 };
  return {
    width, height: HEIGHT,
    legend: { show: false },
    cursor: { y: false },
    scales: { x: { range: (_u, min, max) => [Math.min(min, max - SPAN), max] }, y: { range: (_u, _min, max) => [0, Math.max(max * 1.1, 125000)] } },
    axes: [
      { stroke: colour("--dim"), grid, ticks: grid },
      { stroke: colour("--dim"), grid, ticks: grid, size: 84, values: (_u, values) => values.map((v) => rate(v)) },
    ],
    series: [{}, { stroke: colour("--accent"), fill: colour("--accent-soft"), width: 2, points: { show: false } }],
  };
}

export function Throughput({ data, label }: { data: [number, number][]; label: string }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>();
  const mode = theme.value;

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    plot.current = new uPlot(options(element.clientWidth || 600), [[], []], element);
    const observer = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.current?.destroy();
    };
  }, [mode]);
  useEffect(() => {
    plot.current?.setData([data.map((d) => d[0]), data.map((d) => d[1])]);
  }, [data, mode]);

  const now = data.length ? data[data.length - 1][1] : 0;
  return <div ref={box} class="chart" role="img" aria-label={`${label}: ${rate(now)} now`} />;
}
