#!/bin/sh
# Takes components of this node from old to new in place, as one transaction that the node finishes by itself.
#
#   swap.sh begin ID FENCE DEADLINE_MS STOP_S NAME...   start; each NAME.sonoba-next has been created beforehand
#   swap.sh state ID                                    what is known of it
#   swap.sh commit|rollback ID FENCE                    give a verdict; prints the one that stands
#   swap.sh recover ID [FENCE]                          take over from a runner that is gone; without FENCE: by hand
#   swap.sh forget ID                                   remove its folder once it has ended
#
# FENCE is TOKEN RUN UNTIL: which holding of the cluster's run lock asks, of which run, and the uptime of this node in ms
# until which it holds for sure. What comes later, or after a higher token, ends with 5 and changes nothing.
#
# $HOME/.sonoba/tx/ID holds: fence and args (what was asked, and by what right), c.NAME (ids and restart policy, from before anything was touched),
# steps (uptime in ms, step, name), until (the dead-man's switch, as uptime in ms), verdict (a hard link, so that the
# first to decide wins), owner.N (the runners in turn; the last one owns), end, why, log, err.
#
# $HOME/.sonoba/fence holds an empty file for each token that was seen, TOKEN.RUN; older ones are removed.
#
# The folder is also the claim on its containers: from args to end no other transaction may begin with one of them.
#
# After the records are written, containers are addressed by id: renames can then be half done without ambiguity.
# Plain POSIX sh and docker; setsid, timeout and sync are used where the node has them.

set -u
umask 077
LC_ALL=C
export LC_ALL
PATH=${PATH:-/usr/bin:/bin}:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:/opt/bin
export PATH
DOCKER_CLI_HINTS=false # no hooks of CLI plugins between a stop and a start
export DOCKER_CLI_HINTS

die() {
    printf 'sonoba swap: %s\n' "$1" >&2
    exit "${2:-1}"
}

# A name's rule, as the client has it: a single word, safe in a path.
name() {
    case $1 in
    '' | [!A-Za-z0-9]* | *[!A-Za-z0-9._-]*) die "not a name: $1" 2 ;;
    esac
}

number() {
    case $1 in
    '' | *[!0-9]* | 0?* | ????????????*) die "not a number: $1" 2 ;;
    esac
}

# A number that may be as large as an uptime in ms.
large() {
    case $1 in
    '' | *[!0-9]* | 0?* | ????????????????*) die "not a number: $1" 2 ;;
    esac
}

# Sets $now: milliseconds since boot. Never the wall clock, which jumps. No fork: it is read between stop and start.
uptime_ms() {
    read -r now _ </proc/uptime
    now=$((${now%.*} * 1000 + (1${now#*.} - 100) * 10))
}

step() {
    uptime_ms
    printf '%s %s %s\n' "$now" "$1" "${2-}" >>"$T/steps"
}

# Sets $verdict to the one that stands, empty when there is none.
read_verdict() {
    verdict=
    [ -e "$T/verdict" ] && read -r verdict <"$T/verdict"
}

# Of several that decide at once, ln lets exactly one win.
decide() {
    ln "$T/v.$1" "$T/verdict" 2>/dev/null
    read_verdict
}

# ---- the run lock ----------------------------------------------------------------------------------------------

# Sets $newer to a token that was seen here and outranks token $1 of run $2; fails when there is none. The same token of
# another run does: somebody deleted the lock, and only the cluster knows who has it now. No fork.
outranked() {
    for seen in "$HOME"/.sonoba/fence/*; do
        seen=${seen##*/}
        newer=${seen%%.*}
        case $newer in '' | *[!0-9]*) continue ;; esac
        [ "$newer" -lt "$1" ] || [ "$seen" = "$1.$2" ] || return 0
    done
    return 1
}

# Refuses unless the run lock is held by token $1 of run $2, as far as this node knows, and the uptime is not past $3. The
# own token is written down before the others are looked at: of two that come at once, the older sees the newer.
admit() {
    large "$1"
    name "$2"
    large "$3"
    fences=$HOME/.sonoba/fence
    [ -d "$fences" ] || mkdir -p "$fences" || die "cannot make $fences"
    [ -e "$fences/$1.$2" ] || { true >"$fences/$1.$2"; } 2>/dev/null || die "cannot write to $fences; is the disk full?"
    if outranked "$1" "$2"; then
        printf 'fenced newer %s\n' "$newer"
        die "the run lock has gone to another: $seen was here after $1.$2; nothing was changed" 5
    fi
    uptime_ms
    if [ "$now" -gt "$3" ]; then
        printf 'fenced late %s\n' "$now"
        die "the run lock of $2 was sure until uptime $3 ms only, and it is $now; nothing was changed" 5
    fi
    for seen in "$fences"/*; do
        older=${seen##*/}
        older=${older%%.*}
        case $older in '' | *[!0-9]*) continue ;; esac
        [ "$older" -ge "$1" ] || rm -f "$seen"
    done
}

# Whether the right with which this was begun still stands. No fork.
still_admitted() {
    token='' whose='' limit=0
    [ -s "$T/fence" ] && read -r token whose limit <"$T/fence"
    uptime_ms
    [ -n "$token" ] && [ "$now" -le "$limit" ] && ! outranked "$token" "$whose"
}

# ---- runners ---------------------------------------------------------------------------------------------------

# Reads /proc/$1/stat into $stat_state $stat_session $stat_start; fails when there is no such process.
stat_of() {
    { read -r stat_line <"/proc/$1/stat"; } 2>/dev/null || return 1
    stat_line=${stat_line##*) } # the command's name may hold blanks and parentheses
    # shellcheck disable=SC2086 # the fields are to be split
    set -- $stat_line
    [ "$#" -ge 20 ] || return 1
    stat_state=$1 stat_session=$4
    shift 19
    stat_start=$1
}

# Sets $last to the number of the latest owner, 0 when none has claimed it yet.
last_owner() {
    last=0
    while [ -e "$T/owner.$((last + 1))" ]; do last=$((last + 1)); done
}

# Claims ownership as number $1; exactly one process can.
claim() {
    read -r boot </proc/sys/kernel/random/boot_id
    read -r self _ </proc/self/stat
    stat_of "$self" || return 1
    printf '%s %s %s %s\n' "$self" "$stat_start" "$boot" "$stat_session" >"$T/claim.$1.$self" || return 1
    # A pid can come again: the link's name is new each time, so no claim that won is ever overwritten.
    ln "$T/claim.$1.$self" "$T/owner.$1" 2>/dev/null
}

same_boot() {
    read -r boot </proc/sys/kernel/random/boot_id
    last_owner
    [ "$last" -gt 0 ] || return 0
    read -r _ _ owner_boot _ <"$T/owner.$last"
    [ "$owner_boot" = "$boot" ]
}

# Whether the owner lives, or a docker command that it started still does: taking over before that one has ended
# would race with it.
alive() {
    last_owner
    [ "$last" -gt 0 ] || return 1
    read -r owner owner_start owner_boot owner_session <"$T/owner.$last" || return 1
    read -r boot </proc/sys/kernel/random/boot_id
    [ "$owner_boot" = "$boot" ] || return 1
    if stat_of "$owner" && [ "$stat_start" = "$owner_start" ]; then
        case $stat_state in Z | X) ;; *) return 0 ;; esac
    fi
    [ "$owner_session" = "$owner" ] || return 1 # without a session of its own it cannot be told from others
    for proc in /proc/[0-9]*; do
        stat_of "${proc#/proc/}" || continue
        [ "$stat_session" = "$owner_session" ] || continue
        case $stat_state in Z | X) ;; *) return 0 ;; esac
    done
    return 1
}

# Starts a runner that outlives this SSH session. TERM is ignored too: some systems send it to all that a session left.
spawn() {
    trap '' HUP INT QUIT TERM PIPE
    if command -v setsid >/dev/null 2>&1; then
        setsid sh "$0" "$1" "$id" </dev/null >>"$T/log" 2>&1 &
    else
        sh "$0" "$1" "$id" </dev/null >>"$T/log" 2>&1 &
    fi
    trap - HUP INT QUIT TERM PIPE
}

# Waits until a runner has claimed ownership beyond number $1.
await_owner() {
    tries=0
    while [ ! -e "$T/owner.$(($1 + 1))" ] || [ ! -s "$T/steps" ]; do
        [ ! -s "$T/end" ] || return 0
        [ -d "$T" ] || return 1
        tries=$((tries + 1))
        [ "$tries" -le 200 ] || return 1
        sleep 0.05 2>/dev/null || sleep 1
    done
}

# ---- docker ----------------------------------------------------------------------------------------------------

# Sets $log and $err to where docker's words go: into the folder while there is one to write to. A full disk, or a folder
# that somebody removed, must not keep the node from going back. (Not ":", whose failed redirection ends the shell.)
keep() {
    log=$T/log err=$T/err
    { true >>"$log" && true >"$err"; } 2>/dev/null || log=/dev/null err=/dev/null
}

# Runs a command for at most $1 seconds, its output kept in the folder. A hung daemon must not hang the switch.
limited() {
    limit=$1
    shift
    keep
    if [ -n "$timeout" ]; then
        timeout -k 5 "$limit" "$@" >>"$log" 2>"$err"
    else
        "$@" >>"$log" 2>"$err"
    fi
}

# Asks docker something and sets $answer.
asked() {
    keep
    if [ -n "$timeout" ]; then
        answer=$(timeout -k "${ask_kill:-5}" "${ask_limit:-30}" docker "$@" 2>"$err")
    else
        answer=$(docker "$@" 2>"$err")
    fi
}

# Remembers why: $1, and what docker said. The first reason stands.
because() {
    said=
    [ -s "$T/err" ] && read -r said <"$T/err"
    printf '%s%s\n' "$1" "${said:+: $said}" >>"$T/log"
    [ -s "$T/why" ] || printf '%s%s\n' "$1" "${said:+: $said}" >"$T/why"
}

# Whether container $1 (an id) exists: 0 yes, 1 no, 2 docker does not say.
exists() {
    asked ps --all --no-trunc --quiet --filter "id=$1" || return 2
    [ "$answer" = "$1" ]
}

# Sets $found to the id of the container named $1, empty when there is none.
id_of() {
    found=
    asked ps --all --no-trunc --format '{{.ID}} {{.Names}}' --filter "name=^/$1\$" || return 1
    # Not a here-document: some shells put those into /tmp, which may be full.
    # shellcheck disable=SC2086 # lines of two words
    set -- "$1" $answer
    # The filter is a pattern, in which a dot stands for anything: compare.
    while [ "$#" -ge 3 ]; do
        [ "$3" != "$1" ] || found=$2
        id_of_name=$1
        shift 3
        set -- "$id_of_name" "$@"
    done
}

# Sets $policy from docker's NAME:RETRIES.
policy_of() {
    case $1 in
    always:*) policy=always ;;
    unless-stopped:*) policy=unless-stopped ;;
    on-failure:0) policy=on-failure ;;
    on-failure:*) policy=$1 ;;
    *) policy=no ;;
    esac
}

# How often the names are looked at while the verdict is waited for, and how long another hand may take to finish what it
# began with a name. Milliseconds.
LOOK_MS=3000
GRACE_MS=10000

FORMAT='{{.Id}} {{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}} {{.HostConfig.AutoRemove}}'

# Writes c.NAME: old id, new id, restart policy. Sets $foreign where another has its hands on the container.
record() {
    id_of "$1.sonoba-prev" || return 1
    if [ -n "$found" ]; then
        foreign=yes
        echo "$1.sonoba-prev is there: another user's swap is under way, or one was left unfinished" >"$T/err"
        return 1
    fi
    asked inspect --type container --format "$FORMAT" "$1" "$1.sonoba-next" || return 1
    # shellcheck disable=SC2086 # two lines of three words
    set -- "$1" $answer
    [ "$#" -eq 7 ] || return 1
    if [ "$4" = true ]; then
        echo 'it is removed when it stops (--rm), so there would be no way back' >"$T/err"
        return 1
    fi
    policy_of "$3"
    printf '%s %s %s\n' "$2" "$5" "$policy" >"$T/c.$1.part" && [ -s "$T/c.$1.part" ] && mv -f "$T/c.$1.part" "$T/c.$1"
}

# Sets $old $new $policy of container $1 from its record, or from the names that exist when a power cut took the
# record; empty where there is none. Fails when docker does not say.
recall() {
    old='' new='' policy=''
    [ -s "$T/c.$1" ] && read -r old new policy <"$T/c.$1"
    [ -z "$policy" ] || return 0
    id_of "$1.sonoba-prev" || return 1
    old=$found
    id_of "$1" || return 1
    if [ -n "$old" ] && [ -n "$found" ]; then
        new=$found
    else
        old=${old:-$found}
        id_of "$1.sonoba-next" || return 1
        new=$found
    fi
    # Both were made with the same policy; of the two, one still has it.
    for recall_id in $new $old; do
        asked inspect --type container --format "$FORMAT" "$recall_id" || return 1
        recall_policy=${answer#* }
        policy_of "${recall_policy%% *}"
        [ "$policy" = no ] || kept=$policy
    done
    policy=${kept:-no}
    kept=
}

# ---- the wire: a connection to the daemon that is opened before it is needed ----------------------------------

# Between a stop and a start every spawned process is downtime. So both are asked over one connection that stands
# already: `docker system dial-stdio` passes bytes to the daemon (docker's own ssh:// rests on it), and the Engine API's
# stop and start are a line of HTTP each. Where that does not work, the docker command does.

CR=$(printf '\r')

open_wire() {
    wire=
    mkfifo "$T/to" "$T/from" 2>/dev/null || return 0
    docker system dial-stdio <"$T/to" >"$T/from" 2>/dev/null &
    wire_pid=$!
    # Before the pipes are opened: were they open in it too, a dead runner would not end the wire.
    watch_wire &
    # The reading end is opened second, as its other side is.
    exec 3>"$T/to" 4<"$T/from"
    rm -f "$T/to" "$T/from"
    wire=yes
    request HEAD /_ping || close_wire
}

close_wire() {
    [ -n "$wire" ] || return 0
    wire=
    exec 3>&- 4<&-
    { kill -9 "$wire_pid" && wait "$wire_pid"; } 2>/dev/null
    return 0
}

# The dead-man's switch must not wait for a daemon that hangs: ends the wire at the deadline, or soon where it is not
# set yet; a request then fails.
watch_wire() {
    uptime_ms
    patient=$((now + 60000))
    while kill -0 "$wire_pid" 2>/dev/null; do
        [ ! -s "$T/until" ] || read -r patient <"$T/until"
        uptime_ms
        if [ "$now" -ge "$patient" ]; then kill -9 "$wire_pid" 2>/dev/null; fi
        sleep 1
    done
}

# Asks $1 (method) $2 (path) $3 (a body, or nothing) over the wire: 0 done, or done already (304); 1 the wire does not
# work and is closed, and docker itself is to be asked; 2 the daemon refused, and its words are kept.
request() {
    [ -n "$wire" ] || return 1
    code=
    body=${3-}
    if printf '%s %s HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: %s\r\n\r\n%s' \
        "$1" "$2" "${#body}" "$body" >&3; then
        # What is left of the last answer's body is passed over; it may end without a line feed.
        while [ -z "$code" ] && IFS= read -r line <&4; do
            case $line in *HTTP/1.[01]' '*) code=${line##*HTTP/1.[01] } ;; esac
        done
        while IFS= read -r line <&4 && [ "$line" != "$CR" ]; do :; done
    fi 2>/dev/null
    case $code in
    200* | 204* | 304*) return 0 ;;
    [45]??*)
        if IFS= read -r said <&4; then
            said=${said#'{"message":"'}
            printf '%s\n' "${said%'"}'}" >"$T/err"
            return 2
        fi
        ;;
    esac
    close_wire
    return 1
}

# Whether the name $1 is still that of its new container and the old one is there: 0 yes, 1 no, 2 docker does not say.
is_ours() {
    id_of "$1" || return 2
    [ "$found" = "$new" ] || return 1
    exists "$old"
}

# Another hand is found while the verdict is waited for, not only at the deadline. Fails with $one, whose name is not ours any
# more. Without timeout a daemon that hangs would hold up the deadline, so nothing is asked then.
still_ours() {
    [ -n "$timeout" ] || return 0
    ask_limit=3 ask_kill=1
    for one in $names; do
        read -r old new policy <"$T/c.$one"
        id_of "$one" || break # docker is slow or away: the deadline decides
        # An old one that is gone speaks for the new one, not against it.
        [ "$found" = "$new" ] || {
            ask_limit='' ask_kill=''
            return 1
        }
    done
    ask_limit='' ask_kill=''
}

stop_old() {
    request POST "/containers/$old/stop?t=$stop"
    case $? in 0) return 0 ;; 2) return 1 ;; esac
    limited "$((stop + 20))" docker stop -t "$stop" "$old"
}

start_new() {
    request POST "/containers/$new/start"
    case $? in 0) return 0 ;; 2) return 1 ;; esac
    limited "$(((until - now) / 1000 + 1))" docker start "$new"
}

# Takes the restart policy of the old ones. Not before the new ones have started: were the node rebooted earlier, docker
# would start the old again, and not the new, which never ran. And a moment later: the daemon's sync to disk would hold
# up an etcd that is just getting up.
calm() {
    sleep 0.5 2>/dev/null || sleep 1
    for one in $names; do
        read -r old new policy <"$T/c.$one"
        [ "$policy" = no ] || calm_old || fail "$one kept its restart policy"
    done
}

calm_old() {
    request POST "/containers/$old/update" '{"RestartPolicy":{"Name":"no"}}'
    case $? in 0) return 0 ;; 2) return 1 ;; esac
    limited 60 docker update --restart=no "$old"
}

# ---- the transaction -------------------------------------------------------------------------------------------

load() {
    timeout=
    timeout -k 1 9 true >/dev/null 2>&1 && timeout=yes
    nap=1
    sleep 0.01 2>/dev/null && nap=0.1
    deadline=0 stop=10 names='' backwards='' settled=' ' foreign='' broken='' taken='' graced='' wire=
    [ -s "$T/args" ] || return 0
    {
        read -r deadline
        read -r stop
        while read -r one; do
            names="$names $one"
            backwards="$one $backwards"
        done
    } <"$T/args"
}

# Puts a new container into its name beside the running old one; costs no downtime.
step_in() {
    limited 60 docker rename "$old" "$1.sonoba-prev" && limited 60 docker rename "$new" "$1"
}

run() {
    load
    claim 1 || exit 0 # someone else has taken it over
    step begun || exit 1

    for one in $names; do
        record "$one" || {
            [ -z "$foreign" ] || stay_out "$one cannot be swapped"
            fail "$one cannot be swapped"
        }
    done
    # The records must outlast a power cut before docker's names change.
    limited 20 sync "$T/args" "$T/v.commit" "$T/v.rollback" "$T"/c.* "$T"
    for one in $names; do
        { recall "$one" && step_in "$one"; } || fail "$one could not be renamed"
    done

    open_wire
    until=
    for one in $names; do
        read -r old new policy <"$T/c.$one"
        read_verdict
        [ -z "$verdict" ] || break
        is_ours "$one"
        case $? in
        1) keep && fail "$one is not what this swap put there any more" ;;
        2) fail "docker does not say what $one is" ;;
        esac
        # Until here docker may have been slow for long, and another may have taken the lock. From the first stop on, the
        # switch decides.
        [ -n "$until" ] || still_admitted || { keep && fail 'the run lock ran out before anything was stopped'; }
        step stopping "$one" || fail "$one could not be logged"
        if [ -z "$until" ]; then
            until=$((now + deadline))
            { printf '%s\n' "$until" >"$T/until" && [ -s "$T/until" ]; } || fail 'the deadline could not be written down'
        fi
        in_time
        stop_old || fail "$one did not stop"
        step stopped "$one"
        in_time
        start_new || fail "the new $one did not start"
        step started "$one"
    done
    # Rolled back already: the old ones keep their policies.
    [ -n "$verdict" ] || { step waiting && calm; }
    close_wire
    uptime_ms
    looked=$now

    while
        read_verdict
        [ -z "$verdict" ]
    do
        [ -d "$T" ] || break # somebody removed it, so no verdict can come: back to what was
        uptime_ms
        if [ "$now" -ge "$until" ]; then
            keep
            decide rollback
            [ "$verdict" != rollback ] || because 'the deadline passed without a verdict'
            break
        fi
        if [ "$((now - looked))" -ge "$LOOK_MS" ]; then
            still_ours || {
                keep
                decide rollback
                [ "$verdict" != rollback ] || because "$one is not what this swap put there any more"
                break
            }
            uptime_ms
            looked=$now
        fi
        sleep "$nap"
    done
    finish
}

in_time() {
    [ "$now" -lt "$until" ] || { keep && fail 'the deadline passed before all were started'; }
}

fail() {
    close_wire
    because "$1"
    decide rollback
    finish
}

# Ends without a look at the containers: this transaction has touched none, so whatever they are is not its to undo.
stay_out() {
    because "$1"
    decide rollback
    end rolled-back
}

resume() {
    load
    [ ! -s "$T/end" ] || exit 0
    ! alive || exit 0
    first=$last
    claim "$((last + 1))" || exit 0
    step begun
    keep
    [ "$first" -gt 0 ] || stay_out 'it never had a runner, so nothing was touched'
    decide rollback # loses against a commit that stands
    [ "$verdict" = commit ] || because 'its runner was gone and the node took it up again'
    finish
}

finish() {
    if [ "$verdict" = commit ]; then
        limited 20 sync "$T" # the verdict must outlast what is removed now
        for one in $names; do
            until keep_new "$one"; do patience "$one"; done
        done
        tell_taken
        [ -z "$broken" ] || end broken
        end committed
    fi
    for one in $backwards; do
        step restoring "$one"
        until restore "$one"; do patience "$one"; done
    done
    tell_taken
    [ -z "$broken" ] || end broken
    end rolled-back
}

# Docker may be restarting, or the machine may be short of something: that is waited for as long as it takes. For another hand
# it is not: each try that finds one either ends the container's part (give_way) or counts against its grace.
patience() {
    said=
    [ -s "$T/err" ] && read -r said <"$T/err"
    printf '%s: trying again: %s\n' "$1" "$said" >>"$T/log"
    sleep 1
}

end() {
    # On a full disk a file can be made and stay empty, which would be no end.
    until printf '%s\n' "$1" >"$T/end.part" && [ -s "$T/end.part" ] && mv -f "$T/end.part" "$T/end"; do
        [ -d "$T" ] || exit 0 # somebody removed it
        sleep 1
    done
    exit 0
}

# Carries a commit out for container $1.
keep_new() {
    recall "$1" || return 1
    if [ -s "$T/c.$1" ] && ! removed "$1"; then
        id_of "$1" || return 1
        case $found in
        "$new") ;;
        "$old")
            take "$1"
            restore "$1"
            return
            ;;
        '')
            exists "$new"
            case $? in
            # Its name alone was taken away.
            0) limited 60 docker rename "$new" "$1" || return 1 ;;
            1)
                take "$1"
                restore "$1"
                return
                ;;
            2) return 1 ;;
            esac
            ;;
        *)
            give_way "$1" "$found"
            return
            ;;
        esac
    fi
    remove_old "$1"
}

# Whether the old container of $1 was removed by a commit.
removed() {
    while read -r _ what whose; do
        [ "$what $whose" != "removed $1" ] || return 0
    done <"$T/steps"
    return 1
}

remove_old() {
    if [ -s "$T/c.$1" ]; then
        exists "$old"
        case $? in 1) return 0 ;; 2) return 1 ;; esac
    else
        id_of "$1.sonoba-prev" || return 1
        [ -n "$found" ] || return 0
        old=$found
    fi
    # Without --volumes: what was in an anonymous volume is the new one's now.
    limited 60 docker rm --force "$old" || return 1
    step removed "$1"
}

# Brings container $1 back to its old self from wherever it is. Can be repeated at any point.
restore() {
    recall "$1" || return 1
    id_of "$1" || return 1
    holder=$found
    case $holder in
    '' | "$old" | "$new") ;;
    *)
        give_way "$1" "$holder"
        return
        ;;
    esac
    [ -n "$old" ] || return 0
    exists "$old"
    case $? in
    1)
        # Whoever removed it may be about to make another.
        if [ -z "$holder" ] && grace "$1"; then return 1; fi
        # What is left is all there is: it is not taken away too, and nobody is told that this were the old state.
        lost "the old container of $1 is gone, so the node cannot go back"
        return 0
        ;;
    2) return 1 ;;
    esac
    here=
    if [ -n "$new" ]; then
        exists "$new"
        case $? in 0) here=yes ;; 2) return 1 ;; esac
    fi
    [ -z "$here" ] || limited "$((stop + 20))" docker stop -t "$stop" "$new" || return 1
    case $settled in
    *" $1 "*) ;;
    *)
        # The old one runs, but a stop may still be under way in the daemon: let it come to its end first.
        if unfinished_stop "$1"; then limited "$((stop + 20))" docker stop -t "$stop" "$old" || return 1; fi
        limited 60 docker start "$old" || return 1
        settled="$settled$1 "
        step restored "$1"
        ;;
    esac
    [ -z "$here" ] || limited 60 docker rm --force "$new" || return 1
    wanted=$policy
    asked inspect --type container --format "$FORMAT {{.Name}}" "$old" || return 1
    # shellcheck disable=SC2086 # four words
    set -- "$1" $answer
    [ "$#" -eq 5 ] || return 1
    policy_of "$3"
    [ "$5" = "/$1" ] || limited 60 docker rename "$old" "$1" || return 1
    [ "$policy" = "$wanted" ] || limited 60 docker update "--restart=$wanted" "$old"
}

# ---- another hand ----------------------------------------------------------------------------------------------

# Something else (CKE, a person) may make a container anew under the swap. Of two that want one name, the one that came last and
# from outside stays: it would come again. So what has the name is left alone, ours is cleared away, and the old one is kept,
# stopped, beside it. Where the foreign one does not run, the old one does: nothing at all would be worse.

take() {
    case "$taken " in *" $1 "*) ;; *) taken="$taken $1" ;; esac
}

# Whether another still has time to finish what it does to $1. Each container has it once.
grace() {
    uptime_ms
    case $graced in
    "$1 "*) ;;
    *) graced="$1 $((now + GRACE_MS))" ;;
    esac
    [ "$now" -lt "${graced#* }" ]
}

# Leaves the name $1 to container $2, which another made.
give_way() {
    take "$1"
    here_old='' here_new=''
    if [ -n "$old" ]; then
        exists "$old"
        case $? in 0) here_old=yes ;; 2) return 1 ;; esac
    fi
    if [ -n "$new" ]; then
        exists "$new"
        case $? in 0) here_new=yes ;; 2) return 1 ;; esac
    fi
    runs "$2"
    case $? in
    0)
        [ -z "$here_new" ] || clear_new || return 1
        [ -z "$here_old" ] || quiet_old || return 1
        return 0
        ;;
    2) return 1 ;;
    esac
    if grace "$1"; then
        # Perhaps it cannot run because ours does.
        [ -z "$here_new" ] || limited "$((stop + 20))" docker stop -t "$stop" "$new"
        return 1
    fi
    if [ -n "$here_old" ]; then
        [ -z "$here_new" ] || clear_new || return 1
        run_beside "$1" old "$old"
    elif [ -n "$here_new" ]; then
        run_beside "$1" new "$new"
    else
        lost "the old container of $1 is gone, so the node cannot go back"
    fi
}

clear_new() {
    limited "$((stop + 20))" docker stop -t "$stop" "$new" && limited 60 docker rm --force "$new"
}

quiet_old() {
    limited 60 docker update --restart=no "$old" && limited "$((stop + 20))" docker stop -t "$stop" "$old"
}

# Starts container $3, the $2 one, beside the name $1 that another has and that does not run.
run_beside() {
    limited 60 docker start "$3" || return 1
    [ "$policy" = no ] || limited 60 docker update "--restart=$policy" "$3" || return 1
    [ "$2" != old ] || step restored "$1"
    add_why "the $2 $1 runs beside it"
}

# Whether container $1 (an id) runs: 0 yes, 1 no, 2 docker does not say.
runs() {
    exists "$1" || return
    asked inspect --type container --format '{{.State.Running}} {{.Config.Image}}' "$1" || return 2
    [ "${answer%% *}" = true ]
}

# Ends the transaction as foreign where another had its hand in it, with what has the names as seen now.
tell_taken() {
    [ -n "$taken" ] || return 0
    for one in $taken; do
        if ! id_of "$one"; then
            seen='docker does not say what runs now'
        elif [ -z "$found" ]; then
            seen='nothing has its name now'
        else
            runs "$found"
            case $? in
            0) seen="${answer#* } runs now, container $(short "$found")" ;;
            1) seen="container $(short "$found") has its name now and does not run" ;;
            *) seen='docker does not say what runs now' ;;
            esac
        fi
        add_why "something else made $one anew during the swap: $seen"
    done
    end foreign
}

short() {
    printf '%.12s' "$1"
}

# Remembers what a person must look at, after the reason that may stand already.
lost() {
    broken=yes
    add_why "$1"
}

add_why() {
    why=
    [ -s "$T/why" ] && read -r why <"$T/why"
    case $why in *"$1"*) return ;; esac
    printf '%s\n' "$1" >>"$T/log"
    printf '%s\n' "${why:+$why; }$1" >"$T/why.part" && mv -f "$T/why.part" "$T/why"
}

# Whether a stop of $1 was begun and is not known to have ended.
unfinished_stop() {
    begun=1
    while read -r _ what whose; do
        [ "$whose" = "$1" ] || continue
        case $what in
        stopping) begun=0 ;;
        stopped | restored) begun=1 ;;
        esac
    done <"$T/steps"
    return "$begun"
}

# ---- verbs -----------------------------------------------------------------------------------------------------

state() {
    uptime_ms
    printf 'sonoba-tx 1\nuptime %s\n' "$now"
    if [ ! -d "$T" ]; then
        printf 'found no\nalive no\n.\n'
        return
    fi
    # Aliveness before the end: a runner that ends in between is then seen as alive, never as lost.
    lives=no
    alive && lives=yes
    ended=
    [ -s "$T/end" ] && read -r ended <"$T/end"
    printf 'found yes\nalive %s\n' "$lives"
    if [ -e "$T/steps" ]; then
        # A power cut can leave a line half written.
        while read -r at what whose; do
            case $at in '' | *[!0-9]*) continue ;; esac
            case $what in begun | stopping | stopped | started | waiting | restoring | restored | removed) ;; *) continue ;; esac
            case $whose in *[!A-Za-z0-9._-]*) continue ;; esac
            printf 'step %s %s%s\n' "$at" "$what" "${whose:+ $whose}"
        done <"$T/steps"
    fi
    read_verdict
    case $verdict in commit | rollback) printf 'verdict %s\n' "$verdict" ;; esac
    case $ended in committed | rolled-back | broken | foreign) printf 'end %s\n' "$ended" ;; esac
    if [ -s "$T/why" ]; then
        read -r why <"$T/why"
        printf 'why %s\n' "$why"
    fi
    printf '.\n'
}

waiting() {
    while read -r _ what _; do
        [ "$what" != waiting ] || return 0
    done <"$T/steps"
    return 1
}

give() {
    [ -d "$T" ] || die "there is no transaction $id"
    read_verdict
    if [ -z "$verdict" ] && [ "$1" = commit ]; then
        waiting || die "transaction $id does not wait for a verdict yet"
        read -r until <"$T/until"
        uptime_ms
        # The deadline holds even where its runner is late, or dead.
        if [ "$now" -ge "$until" ] || ! same_boot; then decide rollback; fi
    fi
    [ -n "$verdict" ] || decide "$1"
    [ -n "$verdict" ] || die "the verdict on $id could not be written"
    printf '%s\n' "$verdict"
}

# Sets $rival to a transaction that has not ended and has one of $wanted; fails when there is none.
find_rival() {
    for folder in "$HOME"/.sonoba/tx/*; do
        rival=${folder##*/}
        case $rival in *[!A-Za-z0-9._-]* | "$id") continue ;; esac
        [ ! -s "$folder/end" ] || continue
        # Forgotten meanwhile, or without its args yet: then it will look for us.
        { has_wanted <"$folder/args"; } 2>/dev/null || continue
        # Ended while we looked?
        [ -s "$folder/end" ] || return 0
    done
    return 1
}

has_wanted() {
    read -r _ && read -r _ || return 1
    while read -r held; do
        case $wanted in *" $held "*) return 0 ;; esac
    done
    return 1
}

# Fails with $rival when another transaction has one of the containers. Each of several that begin at once shows its
# args before it looks, so of any two at least one sees the other. A rival with a runner has them; of two without, the
# one whose id sorts first waits for what becomes of the other, which gives way.
contend() {
    tries=0
    while find_rival; do
        [ ! -e "$HOME/.sonoba/tx/$rival/owner.1" ] && [ "$tries" -lt 100 ] &&
            expr "x$id" \< "x$rival" >/dev/null || return 1
        tries=$((tries + 1))
        sleep 0.05 2>/dev/null || sleep 1
    done
}

# Takes the folder out of sight in one step: one that is half removed would look like a transaction that lost its runner.
vanish() {
    mv "$T" "$HOME/.sonoba/tx/.gone.$id" 2>/dev/null
    rm -rf "$HOME/.sonoba/tx/.gone.$id"
}

refuse() {
    vanish
    T=$HOME/.sonoba/tx/$rival
    hint=
    if [ -e "$T/owner.1" ] || [ "$tries" -ge 100 ]; then
        alive || [ -s "$T/end" ] ||
            hint="; its runner is gone: take its run up again (sonoba resume), or run on the node: sh $0 recover $rival"
    fi
    die "$rival is under way on this node$hint"
}

begin() {
    admit "$1" "$2" "$3"
    fence="$1 $2 $3"
    shift 3
    number "$1"
    number "$2"
    mkdir -p "$HOME/.sonoba/tx" || die "cannot make $HOME/.sonoba/tx"
    if ! mkdir "$T" 2>/dev/null; then
        [ -d "$T" ] || die "cannot make $T"
        # Its answer was lost, or is still to come.
        await_owner 0 || [ -d "$T" ] || die "$id was refused: another transaction is under way on this node"
        return 0
    fi
    if ! { true >"$T/steps" && echo commit >"$T/v.commit" && echo rollback >"$T/v.rollback" &&
        printf '%s\n' "$fence" >"$T/fence" && printf '%s\n' "$@" >"$T/args.part" &&
        [ -s "$T/v.commit" ] && [ -s "$T/v.rollback" ] && [ -s "$T/fence" ] && [ -s "$T/args.part" ] &&
        mv "$T/args.part" "$T/args"; } 2>/dev/null; then
        vanish # nothing has been touched yet
        die "cannot write to $T; is the disk full?"
    fi
    shift 2
    wanted=" $* "
    contend || refuse
    spawn run
    await_owner 0 || die "the runner of $id did not start; see $T/log"
}

recover() {
    [ -d "$T" ] || die "there is no transaction $id"
    [ ! -s "$T/end" ] || return 0
    ! alive || return 0
    [ -s "$T/v.commit" ] || echo commit >"$T/v.commit"
    [ -s "$T/v.rollback" ] || echo rollback >"$T/v.rollback"
    spawn resume
    await_owner "$last" || die "the runner of $id did not start; see $T/log"
}

forget() {
    [ -d "$T" ] || return 0
    [ -s "$T/end" ] || die "transaction $id has not ended"
    vanish
    [ ! -d "$T" ] || die "cannot remove $T"
}

[ "$#" -ge 2 ] || die 'usage: swap.sh VERB ID [ARGUMENT...]' 2
[ -n "${HOME-}" ] || die 'HOME is not set' 2
verb=$1
id=$2
shift 2
name "$id"
T=$HOME/.sonoba/tx/$id

case $verb in
begin)
    [ "$#" -ge 6 ] || die 'usage: swap.sh begin ID TOKEN RUN UNTIL DEADLINE_MS STOP_S NAME...' 2
    for one in "$@"; do name "$one"; done
    begin "$@"
    ;;
state) state ;;
commit | rollback)
    [ "$#" -eq 3 ] || die "usage: swap.sh $verb ID TOKEN RUN UNTIL" 2
    admit "$@"
    give "$verb"
    ;;
recover)
    case $# in
    0) ;; # by hand
    3) admit "$@" ;;
    *) die 'usage: swap.sh recover ID [TOKEN RUN UNTIL]' 2 ;;
    esac
    recover
    ;;
forget) forget ;;
run) run ;;
resume) resume ;;
*) die "unknown verb: $verb" 2 ;;
esac
