#!/bin/sh
# Logs in at a letmein server: letmein.sh [--tcp] [--timeout SECONDS] [--password-file FILE] HOST:PORT USER
#
# Needs nc, md5sum and timeout; README.md says what it cannot do. No process has the password in its arguments, since
# printf is part of the shell.
export LC_ALL=C # so that lengths are in bytes
trap '' PIPE    # that a connection has ended shows where it is read

request='Authentication Request' welcome='Welcome to our service.' refused='User authorization failed.'
digits='[0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
challenge=$digits$digits$digits$digits

main() {
    transport=udp seconds=15 file=''
    while [ $# -gt 2 ]; do
        case $1 in
            --tcp) transport=tcp ;;
            --timeout) seconds=$2 && shift ;;
            --password-file) file=$2 && shift ;;
            *) usage ;;
        esac
        shift
    done
    [ $# = 2 ] || usage
    port=${1##*:} host=${1%:*} name=$2
    case $host in
        \[*\]) host=${host#?} host=${host%?} ;;
        *:*) usage ;;
    esac
    # What begins with a dash would be an option of nc.
    case $host in
        '' | -* | *[!0-9A-Za-z.:%_-]*) usage ;;
    esac
    case ,$port,$seconds, in
        *,,* | *[!0-9,]* | *,0*) usage ;;
    esac
    for tool in nc md5sum timeout; do
        command -v "$tool" >/dev/null || end 2 "there is no $tool"
    done
    case $(nc -h 2>&1) in
        *Ncat* | *BusyBox*) end 2 'this nc is not that of Debian: install netcat-openbsd' ;;
    esac
    if [ -n "$file" ]; then
        [ -r "$file" ] || end 2 "cannot read $file"
        exec <"$file"
    fi
    IFS= read -r password
    password=${password%"$(printf '\r')"}
    case $name in
        '' | *:* | ' '* | *' ' | *[[:cntrl:]]*) end 2 'a name has no colon or control character, and no outer space' ;;
    esac
    [ ${#name} -le 64 ] || end 2 'a name has at most 64 bytes'
    [ -n "$password" ] && [ ${#password} -le 128 ] || end 2 'a password has 1 to 128 bytes'
    "over_$transport"
}

usage() {
    end 2 'usage: letmein.sh [--tcp] [--timeout SECONDS] [--password-file FILE] HOST:PORT USER < PASSWORD'
}

end() { # STATUS TEXT
    case $1 in
        0 | 1) printf '%s\n' "$2" ;;
        *) printf 'letmein.sh: %s\n' "$2" >&2 ;;
    esac
    exit "$1"
}

verdict() { # TEXT
    case $1 in
        "$welcome") end 0 "$1" ;;
        "$refused") end 1 "$1" ;;
        *) end 3 'no verdict' ;;
    esac
}

answer() { # CHALLENGE
    digest=$(printf '%s' "$name$password$1" | md5sum)
    printf '%s' "$name:${digest%% *}:$1"
}

# Makes bytes visible that the shell would drop, and that no reply has.
visible() {
    tr '\000\n' '!!'
}

over_tcp() {
    folder=$(mktemp -d) || end 3 'cannot make a folder'
    trap 'rm -r "$folder"' EXIT
    trap 'exit 3' HUP INT TERM
    mkfifo "$folder/sent" "$folder/received" || end 3 'cannot make pipes'
    timeout "$seconds" nc "$host" "$port" <"$folder/sent" >"$folder/received" 2>/dev/null &
    exec 3>"$folder/sent" 4<"$folder/received"
    printf '%s' "$request" >&3
    issued=$(dd bs=1 count=16 <&4 2>/dev/null | visible)
    case $issued in
        $challenge) answer "$issued" >&3 ;;
        *) end 3 'no challenge' ;;
    esac
    exec 3>&- # so that nc ends when the server hangs up
    verdict "$(dd bs=1 count=27 <&4 2>/dev/null | visible)"
}

over_udp() {
    deadline=$(($(date +%s) + seconds))
    message=$request wait=0.25 requests=0 sends=0 heard='' verdict=''
    issued='' issued_len=0 answered='' answered_len=0
    while [ "$(date +%s)" -lt "$deadline" ]; do
        if [ "$answered_len" = 0 ]; then
            requests=$((requests + 1))
            # Not a port that the system gives to others, since this one is left and taken again for each message.
            source=$((16384 + $(od -An -N2 -tu2 /dev/urandom) % 16384))
        fi
        sends=$((sends + 1))
        take_all "$(exchange "$message" "$wait")"
        if [ -n "$heard" ]; then
            take_all "$(exchange '' 0.25)" # which may contradict the verdict
        fi
        [ -z "$heard" ] || verdict "$heard"
        case $sends,$wait in
            0,*) wait=0.25 ;;
            *,0.25) wait=0.5 ;;
            *) wait=1 ;;
        esac
    done
    end 3 'no verdict in time'
}

# Sends a message, if it is not empty, and prints whatever the server sends during the wait.
exchange() { # MESSAGE WAIT
    {
        printf '%s' "$1" | timeout "$2" nc -u -p "$source" "$host" "$port"
        [ $? = 124 ] || sleep "$2" # The server refuses, or the source port is another's.
    } 2>/dev/null | visible
}

# Takes replies one after the other; none, if there is anything else among them.
take_all() { # REPLIES
    for act in : take; do
        rest=$1
        while [ -n "$rest" ]; do
            case $rest in
                "$welcome"*) reply=$welcome ;;
                "$refused"*) reply=$refused ;;
                $challenge*) reply=$(printf '%.16s' "$rest") ;;
                "New challenge "$challenge*) reply=$(printf '%.30s' "$rest") ;;
                *) return ;;
            esac
            rest=${rest#"$reply"}
            "$act" "$reply"
        done
    done
}

take() { # REPLY
    case $1 in
        New*) take_new "${1#New challenge }" ;;
        $challenge) take_challenge "$1" ;;
        *) take_verdict "$1" ;;
    esac
}

take_challenge() { # CHALLENGE
    case $issued in
        *"$1"*) ;;
        *) issued="$issued $1" issued_len=$((issued_len + 1)) ;;
    esac
    [ "$issued_len" -le 32 ] && [ "$issued_len" -le $((2 * requests)) ] || conflict
    [ "$answered_len" -gt 0 ] || respond "$1"
}

take_new() { # CHALLENGE
    [ "$answered_len" -gt 0 ] || return
    case $answered in
        *"$1"*) return ;;
    esac
    [ "$answered_len" -le 5 ] || conflict
    # One server does not give a verdict and a new challenge for one answer.
    [ -z "$heard" ] || [ "$sends,$answered_len" != 1,1 ] || conflict
    respond "$1"
}

take_verdict() { # VERDICT
    [ "$answered_len" -gt 0 ] || return
    case $verdict in
        '' | "$1") verdict=$1 heard=$1 ;;
        *) conflict ;;
    esac
}

respond() { # CHALLENGE
    answered="$answered $1" answered_len=$((answered_len + 1))
    message=$(answer "$1") sends=0 heard=''
}

conflict() {
    end 3 "the replies cannot all be those of one server: somebody may be forging its address"
}

main "$@"
