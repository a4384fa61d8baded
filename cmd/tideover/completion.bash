# bash completion for tideover, also as supervisorctl
_tideover() {
    local line=${COMP_LINE:0:COMP_POINT} words=() word candidate answer directive
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    word=${words[${#words[@]}-1]}
    answer=$("${words[0]}" __completeNoDesc "${words[@]:1}" 2>/dev/null) || return
    directive=${answer##*:} answer=${answer%:*}
    [[ $directive == [0-9]* ]] || return # another supervisorctl

    # Of --flag=value the answers are values.
    local flag=''
    [[ $word == -*=* ]] && flag=${word%%=*}=
    COMPREPLY=()
    while read -r candidate; do
        [[ -n $candidate && $flag$candidate == "$word"* ]] && COMPREPLY+=("$flag$candidate")
    done <<<"$answer"

    # The numbers are cobra's: 2, the word goes on; 4, it is not a file's name.
    ((directive & 2)) && compopt -o nospace
    ((directive & 4 || ${#COMPREPLY[@]})) || compopt -o default

    # To bash, celery:1 and --watch=5s are several words. It replaces the last.
    local breaks=${COMP_WORDBREAKS//[^:=]/} before=''
    [[ $breaks && $word == *["$breaks"]* ]] && before=${word%"${word##*["$breaks"]}"}
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
}
complete -F _tideover tideover supervisorctl
