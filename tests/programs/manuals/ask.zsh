# zsh -f ask.zsh FOLDER LINE prints what zsh offers after LINE, with the completions in FOLDER. Completion needs a
# terminal, so this is a zsh in one, which writes what it would show to a file.
zmodload zsh/zpty
typeset found=$(mktemp)
zpty shell zsh -f -i
# Calls of compadd that only sort out candidates show nothing.
zpty -w shell "fpath=(${(q)1} \$fpath) LISTMAX=1000; autoload -Uz compinit; compinit -D -u
compadd() {
    (( \${@[(I)-*[OAD]*]} )) && { builtin compadd \"\$@\"; return }
    local -a candidates; builtin compadd -A candidates \"\$@\"; print -rl -- \$candidates >>$found
    builtin compadd \"\$@\"
}
finish() { print -r com''plete }; zle -N finish; bindkey '^B' finish; print -r rea''dy"
zpty -r shell shown '*ready*' && zpty -w -n shell "$2"$'\t\x02' && zpty -r shell shown '*complete*'
zpty -d shell
cat $found
rm $found
