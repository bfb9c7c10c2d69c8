# The first process of a container: run by the host's own sh (launcher.py), so that an image needs no shell.
# It prints what /proc and the cgroup say in here, before the user's program exists; runs the command; and prints how it
# ended. Only builtin commands; names that no image's environment has.
# One pipe for both outputs: engines read two in any order, and what the program says must not come before the facts.
exec 2>&1

_fetchml_show() {
	[ -r "$2" ] || return 0
	while IFS= read -r _fetchml_line || [ -n "$_fetchml_line" ]; do
		printf '%s:%s\n' "$1" "$_fetchml_line"
	done <"$2"
}

_fetchml_value() {
	_fetchml_found=0
	[ -r "$2" ] || return 0
	while read -r _fetchml_key _fetchml_rest; do
		case $1 in
		'') _fetchml_found=$_fetchml_key ;;
		"$_fetchml_key") _fetchml_found=$_fetchml_rest ;;
		esac
	done <"$2"
}

for _fetchml_name in status uid_map mountinfo net/dev limits; do
	_fetchml_show $_fetchml_name /proc/self/$_fetchml_name
done
for _fetchml_name in memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us \
	memory.max pids.max cpu.max; do
	_fetchml_show cgroup/$_fetchml_name /sys/fs/cgroup/$_fetchml_name
done
for _fetchml_name in /run/docker.sock /var/run/docker.sock /run/podman/podman.sock /run/containerd/containerd.sock; do
	[ ! -S $_fetchml_name ] || printf 'socket:%s\n' $_fetchml_name
done
for _fetchml_name in /dev/nvidia[0-9]* /dev/dri/* /dev/kfd; do
	[ ! -e "$_fetchml_name" ] || printf 'device:%s\n' "$_fetchml_name"
done
printf 'fetchml-launcher begins\n'

[ ! -r /fetchml/secrets ] || . /fetchml/secrets
(exec "$@")
_fetchml_code=$?
kill -9 -1 2>/dev/null

if [ -r /sys/fs/cgroup/memory.events ]; then
	_fetchml_value oom_kill /sys/fs/cgroup/memory.events
	_fetchml_oom=$_fetchml_found
	_fetchml_value '' /sys/fs/cgroup/memory.peak
	_fetchml_memory=$_fetchml_found
	_fetchml_value usage_usec /sys/fs/cgroup/cpu.stat
	_fetchml_cpu=${_fetchml_found}000
else
	_fetchml_value oom_kill /sys/fs/cgroup/memory/memory.oom_control
	_fetchml_oom=$_fetchml_found
	_fetchml_value '' /sys/fs/cgroup/memory/memory.max_usage_in_bytes
	_fetchml_memory=$_fetchml_found
	_fetchml_value '' /sys/fs/cgroup/cpuacct/cpuacct.usage
	_fetchml_cpu=$_fetchml_found
fi
printf '\nfetchml-launcher ended %s oom %s memory %s cpu %s\n' "$_fetchml_code" "$_fetchml_oom" "$_fetchml_memory" "$_fetchml_cpu"
exit $_fetchml_code
