// Which agents a few words mean: all of the words must be somewhere in what is known of the agent.
import type { Agent } from "./types";

export const wordsOf = (text: string): string[] => text.toLowerCase().split(/\s+/).filter(Boolean);

export function fits(agent: Agent, words: string[]): boolean {
  const text = `${agent.name} ${agent.tags.join(" ")} ${agent.state} ${agent.path} ${agent.system} ${agent.software} ${agent.id}`.toLowerCase();
  return words.every((word) => text.includes(word));
}
