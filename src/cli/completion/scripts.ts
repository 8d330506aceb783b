export const SHELLS = ["bash", "zsh", "fish", "kubectl"] as const;
export type Shell = (typeof SHELLS)[number];

/** What the shells are given: each asks the program itself, which answers in cobra's way (see complete.ts). */
export const SCRIPTS: Record<Shell, string> = {
  bash: `# kcr completion for bash: source <(kcr completion bash)
_kcr() {
  local words line directive
  COMPREPLY=()
  words=("\${COMP_WORDS[@]:1:COMP_CWORD}")
  local answer
  answer=$("\${COMP_WORDS[0]}" __complete "\${words[@]}" 2>/dev/null) || return
  directive=\${answer##*:}
  while IFS=$'\\t' read -r line _; do
    [[ $line == :* ]] && continue
    [[ $line == "\${COMP_WORDS[COMP_CWORD]}"* ]] && COMPREPLY+=("$line")
  done <<<"$answer"
  if [[ $directive == 4 ]]; then compopt +o default; fi
}
complete -o default -F _kcr kcr kubectl-kcr
`,
  zsh: `#compdef kcr kubectl-kcr
# kcr completion for zsh: source <(kcr completion zsh)
_kcr() {
  local -a lines found
  local line directive
  lines=("\${(@f)$(\${words[1]} __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  directive=\${lines[-1]#:}
  for line in "\${(@)lines[1,-2]}"; do
    [[ -z $line ]] && continue
    found+=("\${\${line%%$'\\t'*}//:/\\\\:}\${\${line#*$'\\t'}:+:\${line#*$'\\t'}}")
  done
  if (( \${#found} )); then _describe kcr found; elif [[ $directive != 4 ]]; then _files; fi
}
compdef _kcr kcr kubectl-kcr
`,
  fish: `# kcr completion for fish: kcr completion fish | source
function __kcr_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l answer ($words[1] __complete $words[2..-1] 2>/dev/null)
  for line in $answer[1..-2]
    echo $line
  end
  if test "$answer[-1]" = ":0"
    __fish_complete_path (commandline -ct)
  end
end
complete -c kcr -f -a '(__kcr_complete)'
complete -c kubectl-kcr -f -a '(__kcr_complete)'
`,
  kubectl: `#!/bin/sh
# Completion of \`kubectl kcr\`: an executable file of this name, kubectl_complete-kcr, in $PATH.
exec kubectl-kcr __complete "$@"
`,
};
